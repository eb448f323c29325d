"""Name what is wrong with the disk of a device: it is read-only, full, or fails.

disk_fault(home)        # "read-only file system", "no space left on device", "" if it takes something
"""

import os
from pathlib import Path

MIN_BYTES = 256 * 1024
"""Free bytes that state, metadata and status need."""


def disk_fault(home: Path) -> str:
    """Return what keeps a folder from being written to; empty: nothing that can be seen without writing."""
    try:
        about = os.statvfs(home)
    except OSError as error:
        return name_fault(error)
    if about.f_flag & os.ST_RDONLY:
        return "read-only file system"
    if about.f_blocks and about.f_bavail * about.f_frsize < MIN_BYTES:
        return "no space left on device"
    if about.f_files and not about.f_favail:
        return "no inodes left on device"
    return "" if os.access(home, os.R_OK | os.W_OK | os.X_OK) else f"permission denied: {home}"


def name_fault(error: OSError) -> str:
    """Return an error of the disk in words; a lack of rights is one of a single file or folder, and names it."""
    words = (error.strerror or str(error)).lower()
    return f"{words}: {error.filename}" if isinstance(error, PermissionError) and error.filename else words
