"""`sim2edge engine-proxy`: let Airflow run stage containers on this machine's engine, and nothing else.

    sim2edge engine-proxy --listen 0.0.0.0:2375 --socket /var/run/docker.sock --deployment sim2edge \
        --network sim2edge-stages

Clients set DOCKER_HOST=tcp://<host>:2375. Who can reach the port can run stages: put it into a network of its own.
Exit code 2: the socket is not there, or may not be used, or the address cannot be listened on.
"""

import argparse
import asyncio
import os
import signal
import stat
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from sim2edge.engine_proxy.policy import Policy
from sim2edge.engine_proxy.server import Proxy, log
from sim2edge.errors import BadInput

SHUTDOWN_S = 2.0


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge engine-proxy` until SIGTERM; the exit code.

    Raises:
        BadInput: the socket or the address cannot be used.
    """
    arguments = parser().parse_args(argv)
    host, colon, port = arguments.listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadInput(f"--listen '{arguments.listen}': expected HOST:PORT")
    check_socket(arguments.socket)
    prefixes = tuple(arguments.image_prefix or ["sim2edge/"])
    policy = Policy(arguments.deployment, arguments.network, prefixes, arguments.pull, arguments.gpus)
    asyncio.run(serve(Proxy(str(arguments.socket), policy), host, int(port)))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="sim2edge engine-proxy", description=__doc__.partition("\n")[0])
    top.add_argument("--listen", default="127.0.0.1:2375", metavar="HOST:PORT", help="where clients connect")
    top.add_argument("--socket", type=Path, default=Path("/var/run/docker.sock"), help="the engine's socket")
    top.add_argument("--deployment", default="sim2edge", help="label value of the containers it may touch")
    top.add_argument("--network", default="sim2edge-stages", help="the network that containers join")
    top.add_argument(
        "--image-prefix",
        action="append",
        metavar="PREFIX",
        help="what images' names begin with (sim2edge/); repeatable",
    )
    top.add_argument("--pull", action="store_true", help="let such images be pulled, with the login that comes along")
    top.add_argument("--gpus", action="store_true", help="let containers ask for GPUs")
    return top


def check_socket(path: Path) -> None:
    """See that the engine's socket is there and may be used.

    Raises:
        BadInput: says which of it is not so, and what to do.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: no engine's socket there ({error.strerror}): is the engine running?") from error
    if not stat.S_ISSOCK(about.st_mode):
        raise BadInput(f"{path}: not a socket: is the engine running?")
    if not os.access(path, os.R_OK | os.W_OK):
        raise BadInput(
            f"{path}: no permission for user {os.getuid()}: it belongs to group {about.st_gid}: "
            "`sim2edge compose init` writes that group into .env"
        )


async def serve(proxy: Proxy, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        BadInput: the address cannot be listened on.
    """
    runner = web.AppRunner(
        proxy.application(),
        handler_cancellation=True,  # a client that goes away takes its request to the engine with it
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        lingering_time=0,  # what follows a refused head is not read
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise BadInput(f"--listen {host}:{port}: {error.strerror}") from error
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    log("listening", address=f"{host}:{port}")
    await ended.wait()
    await runner.cleanup()
