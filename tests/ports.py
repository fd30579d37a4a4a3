"""Ports for servers that tests start."""

import random
import socket

# Below the range from which systems take ports for outgoing connections (RFC 6335 begins it at 49152, Linux at 32768):
# a server that is stopped for a while finds its port still free.
_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    while True:
        port = random.choice(_RANGE)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
