# SPDX-License-Identifier: Apache-2.0
"""free_port(): a port of 127.0.0.1 at which nobody listens now.

From below those that the kernel gives to outgoing connections: of those, a connection takes one before the program under
test listens there, or between its end and its next start; even a client of it, which then talks to itself.
"""
import random
import socket

LEAST = 10_000


def free_port():
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        end = int(file.read().split()[0])
    for _ in range(100):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", random.randrange(LEAST, end) if end > LEAST + 1000 else 0))
                return s.getsockname()[1]
            except OSError:
                pass
    raise OSError(f"no port between {LEAST} and {end} is free")
