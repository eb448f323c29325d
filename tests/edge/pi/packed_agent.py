"""A tiny agent to pack: a stand-in for sim2edge that notes how it was started, and then is good, or bad in its way."""

from pathlib import Path

from sim2edge.agent_package import About
from sim2edge.edge.pi.package import pack

MAIN = """\
import os, signal, sys, time
from pathlib import Path

VERSION, does = {version!r}, {does!r}
if sys.argv[-1] == "--check":
    if does == "picky":
        print("sim2edge: --rate: an option that it does not know", file=sys.stderr)
        sys.exit(2)
    sys.exit("cannot load" if does == "unloadable" else 0)
agents = Path(os.environ["SIM2EDGE_AGENTS"])
home = agents.parent
with (home / "starts.log").open("a") as log:
    log.write(f"{{VERSION}} {{os.environ['SIM2EDGE_AGENT_SLOT']}} {{' '.join(sys.argv[1:])}}\\n")
if does == "crash":
    raise RuntimeError("broken")
if does == "leave":
    sys.exit(0)
if does == "surroundings":
    sys.exit(2)
if does == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
if does == "good":
    sys.path.insert(0, {launcher!r})
    import launcher
    record = launcher.read_record(agents)
    launcher.write_record(agents, launcher.accept(record, os.environ["SIM2EDGE_AGENT_SLOT"]))
    signal.alarm(0)
    (home / "accepted").write_text(VERSION)
time.sleep(60)
"""


def packed(folder: Path, version: str = "1.0", does: str = "hang", arch: str = "x86_64") -> Path:
    """Pack an agent that crashes, leaves, hangs, or is good: accepted at once."""
    from sim2edge.edge.pi import launcher

    package = folder / f"lib-{version}" / "sim2edge"
    (package / "edge").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "edge" / "device.py").touch()
    source = MAIN.format(version=version, does=does, launcher=str(Path(launcher.__file__).parent))
    (package / "__main__.py").write_text(source)
    out = folder / f"agent-{version}.tar.zst"
    pack(package.parent, About(version, arch), out)
    return out
