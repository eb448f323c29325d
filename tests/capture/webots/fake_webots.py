"""A program that is started like Webots: it runs the robot's controller on the stand-in, or misbehaves as told.

The environment says how: FAKE_BEHAVIOUR (well, crash, crash late, hang, hang late, linger), FAKE_VERSION, FAKE_STANDIN.
"""

import configparser
import os
import re
import subprocess
import sys
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    if "--version" in arguments:
        print(f"Webots version: {os.environ['FAKE_VERSION']}")
        return 0
    behaviour, world = os.environ["FAKE_BEHAVIOUR"], Path(arguments[-1])
    assert os.environ["DISPLAY"], "nothing can be drawn without a display"
    (world.parents[1] / "started.txt").write_text("\n".join([*arguments[:-1], f"pid={os.getpid()}"]))
    print("INFO: this is not Webots", flush=True)
    if behaviour == "crash":
        os.abort()
    if behaviour == "hang":
        subprocess.run(["sleep", "1000"], check=False)
    return run_controller(world, behaviour)


def run_controller(world: Path, behaviour: str) -> int:
    """Start the controller that the world names, as its runtime.ini says."""
    name, argument = re.search(r'controller "(\w+)"\s+controllerArgs \[ "([^"]+)" \]', world.read_text()).groups()
    folder = world.parents[1] / "controllers" / name
    settings = configparser.ConfigParser()
    settings.read(folder / "runtime.ini")
    path = os.pathsep.join([os.environ["FAKE_STANDIN"], os.environ["PYTHONPATH"]])
    environment = os.environ | {"PYTHONPATH": path, "STANDIN_WORLD": str(world)}
    command = [settings["python"]["COMMAND"], str(folder / f"{name}.py"), argument]
    controller = subprocess.Popen(command, cwd=folder, env=environment)
    if behaviour in ("crash late", "hang late"):
        while not (world.parents[1] / "heartbeat").exists():
            time.sleep(0.02)
        controller.kill()
    status = controller.wait()
    if behaviour == "crash late":
        os.abort()
    if behaviour in ("linger", "hang late"):
        time.sleep(1000)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
