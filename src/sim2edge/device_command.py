"""`sim2edge device ...`: on the device (`edge/device.py`), and on the admin's side (`stack/device_commands.py`).

sim2edge device run | status | keygen ...              on the device
sim2edge device enrol | move | revoke | list ...       on the admin's side
"""

from collections.abc import Sequence

from sim2edge.stage import load_function

ON_DEVICE, OF_ADMIN = "sim2edge.edge.device:main", "sim2edge.stack.device_commands:main"
ELSEWHERE = {
    **dict.fromkeys(("enrol", "move", "revoke", "list"), OF_ADMIN),
    "keygen": "sim2edge.edge.server.identity:keygen",
}


def main(argv: Sequence[str]) -> int:
    """Run the command that the first word names, in the package that has it; return its exit code."""
    verb = argv[0] if argv else ""
    if verb == "keygen":
        argv = argv[1:]
    code: int = load_function(ELSEWHERE.get(verb, ON_DEVICE))(argv)
    return code
