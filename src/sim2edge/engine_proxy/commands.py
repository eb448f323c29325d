"""Let Airflow run stage containers on this machine's engine, and nothing else.

    sim2edge engine-proxy --listen 0.0.0.0:2375 --deployment sim2edge --network sim2edge-stages

Clients set DOCKER_HOST=tcp://<host>:2375. Any client that reaches the port can run stages: use a separate network.
Exit code 2: the socket is missing or not accessible, or the address is not available.
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
    """Run `sim2edge engine-proxy` until SIGTERM and return the exit code.

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
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge engine-proxy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--listen", default="127.0.0.1:2375", metavar="HOST:PORT", help="address to listen on")
    top.add_argument("--socket", type=Path, default=Path("/var/run/docker.sock"), help="the engine's socket")
    top.add_argument("--deployment", default="sim2edge", help="label value of the containers it manages")
    top.add_argument("--network", default="sim2edge-stages", help="network that containers join")
    top.add_argument(
        "--image-prefix",
        action="append",
        metavar="PREFIX",
        help="allowed prefix of image names (sim2edge/); repeatable",
    )
    top.add_argument("--pull", action="store_true", help="allow pulling such images, with the client's login")
    top.add_argument("--gpus", action="store_true", help="allow containers to request GPUs")
    return top


def check_socket(path: Path) -> None:
    """Check that the engine's socket exists and is accessible.

    Raises:
        BadInput: it is not; the message has the reason and the fix.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: no engine's socket ({error.strerror}): is the engine running?") from error
    if not stat.S_ISSOCK(about.st_mode):
        raise BadInput(f"{path}: not a socket: is the engine running?")
    if not os.access(path, os.R_OK | os.W_OK):
        raise BadInput(
            f"{path}: no permission for user {os.getuid()}: it belongs to group {about.st_gid}: "
            "`sim2edge compose init` writes that group into .env"
        )


async def serve(proxy: Proxy, host: str, port: int) -> None:
    """Run the proxy until SIGTERM or SIGINT.

    Raises:
        BadInput: the address is not available.
    """
    runner = web.AppRunner(
        proxy.application(),
        handler_cancellation=True,  # a disconnected client cancels its request to the engine
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        lingering_time=0,  # the body of a refused request is not read
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
