#!/usr/bin/env python3
"""Runs a program with a socket that listens on 127.0.0.1:PORT as its descriptor 3, told as systemd does it.

    listen_fd.py PORT PROGRAM [ARGUMENT…]

A socket stays in the network namespace that it was made in: dockerd, started like this through nsenter, is reached
from where the tests are while all else of it lives in a namespace of its own."""
import os
import socket
import sys

port, command = int(sys.argv[1]), sys.argv[2:]
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an engine that was killed comes back at once
listener.bind(("127.0.0.1", port))
listener.listen(128)
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.execvpe(command[0], command, {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
