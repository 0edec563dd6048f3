#!/usr/bin/env python3
"""An HTTP proxy for apt in image builds of an engine that has a network namespace of its own.

    apt_relay.py NETNS PORT     listens in that namespace, asks from where it was started; prints a line when it listens

Passes on plain GETs of http:// addresses of Debian's mirrors, one a connection, and nothing else: no CONNECT."""
import ctypes
import os
import re
import socket
import sys
import threading
import urllib.parse

MIRRORS = re.compile(r"(deb|security|snapshot)\.debian\.org|" + re.escape(
    urllib.parse.urlsplit(os.environ.get("CSB_DEBIAN_MIRROR", "http://deb.debian.org")).hostname or "-"))


def listen_in(netns, port):
    """A socket stays in the namespace that its thread was in when it was made."""
    made = []

    def make():
        with open(netns) as place:
            if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen(64)
        made.append(listener)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def answer(peer):
    with peer:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < 65536:
            piece = peer.recv(65536)
            if not piece:
                return
            head += piece
        line, _, rest = head.partition(b"\r\n")
        method, target, _ = line.decode("latin-1").split(" ", 2)
        url = urllib.parse.urlsplit(target)
        if method != "GET" or url.scheme != "http" or not MIRRORS.fullmatch(url.hostname or ""):
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        fields = [f for f in rest.split(b"\r\n") if f and not f.lower().startswith((b"connection", b"proxy-"))]
        path = url.path + ("?" + url.query if url.query else "")
        with socket.create_connection((url.hostname, url.port or 80), 30) as mirror:
            mirror.sendall(b"\r\n".join([f"GET {path} HTTP/1.1".encode(), *fields, b"Connection: close", b"", b""]))
            while piece := mirror.recv(1 << 18):
                peer.sendall(piece)


def guarded(peer):
    try:
        answer(peer)
    except (OSError, ValueError):
        pass


listener = listen_in(sys.argv[1], int(sys.argv[2]))
print("listening", flush=True)
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
