# SPDX-License-Identifier: Apache-2.0
"""What stands between a host and its peer, and can be told to fail: a relay of bytes, and a proxy as http_proxy names it.

    with Relay(service.port) as relay:                # relay.url leads to the service
        relay.cut_answers = 1                           # the next answer's first byte ends both connections …
        relay.cut_at = b"exit"                          # … or not before the piece of it that has this in it
    with Proxy() as proxy: …                          # proxy.url; proxy.seen has what it was asked for

The relay cuts after the request has arrived in full: whoever repeats it then may run something twice.
"""
import contextlib
import select
import socket
import threading
import urllib.parse

from ports import free_port


class Relay:
    """Attributes may be set at any time: `cut_answers` (how many) with `cut_at`, `hold` (an event: nothing passes while it is
    set)."""

    def __init__(self, port, address="127.0.0.1"):
        self.target = (address, port)
        self.cut_answers, self.cut_at, self.cuts, self.connections = 0, b"", 0, 0
        self.hold, self.closing, self.lock = threading.Event(), threading.Event(), threading.Lock()
        self.port = free_port()  # it can be refused for a while
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.url = f"http://127.0.0.1:{self.port}"
        self.open = set()
        self.threads = []

    def __enter__(self):
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.refuse()
        self.accepting.join()
        self.drop()
        for thread in self.threads:
            thread.join()

    def refuse(self):
        """Takes no connection any more."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def listen(self):
        """After refuse(): takes them again, at the same port."""
        self.accepting.join()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def drop(self):
        """Cuts all that is open."""
        with self.lock:
            for each in self.open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                self.connections += 1
                thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _pass(self, client):
        with client, contextlib.suppress(OSError), socket.create_connection(self.target) as server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open |= {client, server}
            try:
                self._pump(client, server)
            finally:
                with self.lock:
                    self.open -= {client, server}

    def _pump(self, client, server):
        while not self.closing.is_set():
            ready = select.select([client, server], [], [], 0.2)[0]
            if self.hold.is_set():
                while self.hold.is_set() and not self.closing.wait(0.02):
                    pass
                continue
            for source in ready:
                data = source.recv(1 << 16)
                if not data:
                    return
                if source is server and self._cut(data):
                    return
                (server if source is client else client).sendall(data)

    def _cut(self, data):
        with self.lock:
            if self.cut_answers <= 0 or self.cut_at not in data:
                return False
            self.cut_answers -= 1
            self.cuts += 1
            return True


class Proxy:
    """A forward proxy: CONNECT, and absolute addresses of http. One request a connection for the latter."""

    def __init__(self):
        self.seen = []  # "GET http://…", "CONNECT host:port"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = []

    def __enter__(self):
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError, ValueError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(1 << 16)
                if not data:
                    return
                head += data
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode().split(" ")
            self.seen.append(f"{method} {target}")
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
            else:
                url = urllib.parse.urlsplit(target)
                host, port = url.hostname, url.port or 80
            with socket.create_connection((host, int(port))) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = url.path + ("?" + url.query if url.query else "")
                    server.sendall(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode() + rest)
                while True:
                    for source in select.select([client, server], [], [])[0]:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        (server if source is client else client).sendall(data)
