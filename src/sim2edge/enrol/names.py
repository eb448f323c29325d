"""What devices and rings may be called.

check_names("pi-7", "canary")       # BadInput names the option that is wrong
"""

import re

from sim2edge.errors import BadInput

MAX_DEVICE, MAX_RING = 63, 31
DEVICE = rf"[a-z0-9][a-z0-9-]{{0,{MAX_DEVICE - 1}}}"
RING = rf"[a-z0-9][a-z0-9-]{{0,{MAX_RING - 1}}}"


def check_names(device: str, ring: str) -> None:
    """Check the names that the options `--id` and `--ring` give.

    Raises:
        BadInput: one of them is not valid.
    """
    for option, name, pattern, longest in (("--id", device, DEVICE, MAX_DEVICE), ("--ring", ring, RING, MAX_RING)):
        if not re.fullmatch(pattern, name):
            raise BadInput(f"{option} '{name[:80]}': expected 1 to {longest} of a-z, 0-9, '-'")
