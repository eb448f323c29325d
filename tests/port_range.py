"""Find neighbouring free ports: SeaweedFS takes its own and the nine after it."""

from sim2edge.services.loopback import free_ports, is_taken

S3_PORTS = 10


def first_free(count: int = S3_PORTS) -> int:
    """Return the first of `count` neighbouring ports that are free now."""
    while True:
        first = free_ports(1)[0]
        if not any(is_taken(first + offset) for offset in range(count)):
            return first
