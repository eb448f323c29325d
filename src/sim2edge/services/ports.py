"""Find free TCP ports on loopback, and the process that holds a taken one."""

import contextlib
import random
import socket

import psutil

HOST = "127.0.0.1"
FIRST, LAST = 15000, 32000


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that are free now, below the kernel's range for outgoing connections."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(FIRST, LAST)
        if not is_taken(port):
            found.add(port)
    return sorted(found)


def is_taken(port: int) -> bool:
    """Return whether a server cannot listen on `port` of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def holder(port: int) -> psutil.Process | None:
    """Return the process that listens on `port`; None when it belongs to another user or is gone."""
    for connection in psutil.net_connections("tcp"):
        local = connection.laddr
        if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                return psutil.Process(connection.pid)
    return None
