#!/usr/bin/env python3
"""Passes connections on: from the socket that listens as descriptor 3 (see listen_fd.py) to ADDRESS:PORT.

    relay.py ADDRESS PORT

Started by listen_fd.py through nsenter, it leads from where the tests are into an engine's network namespace. The
bytes never leave the kernel, so that what is measured through it is the engine."""
import os
import socket
import sys
import threading


def pump(source, target):
    """Passes on until the source's end, and tells the target of that."""
    reader, writer = os.pipe()
    try:
        while got := os.splice(source.fileno(), writer, 1 << 16):
            while got:
                got -= os.splice(reader, target.fileno(), got)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # either side was reset: so is the other
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    finally:
        os.close(reader)
        os.close(writer)


def serve(client, address):
    with client:
        try:
            server = socket.create_connection(address)
        except OSError:
            return  # nobody listens there: the client sees its connection end
        with server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()


listener = socket.socket(fileno=3)
while True:
    accepted = listener.accept()[0]
    threading.Thread(target=serve, args=(accepted, (sys.argv[1], int(sys.argv[2]))), daemon=True).start()
