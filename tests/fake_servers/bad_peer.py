#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that looks like the plain service until somebody's sandbox is used: the user id says what goes wrong.

    with BadPeer(key="k") as peer:                     # peer.url; users: BEHAVIOURS
        POST /sandbox/html-page/execute  ->  an HTML page
    with BadPeer(key="k", always="html-page") as peer: # for everybody, and for /info and /openapi.json too
    with Recorder() as other: …                       # a server elsewhere that keeps what was sent to it

A behaviour is a method: it gets the handler with the request read, and writes what it likes.
"""
import contextlib
import gzip
import json
import socket
import struct
import threading
import urllib.parse

from plain_service import Handler, PlainService, Server

GOOD = {"success": True, "output": "ok\n", "error": None, "exit_code": 0, "execution_time": 0.1}
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def send(handler, status, data, kind="application/json", **headers):
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def end(handler):
    """Cuts the connection: what was written arrives, nothing more does."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)


def no_answer(handler):
    handler.server.owner.closing.wait(60)
    end(handler)


def slow_drip(handler):
    """A byte each 0.2 s, for ever: no pause is long, the whole is."""
    data = json.dumps(GOOD).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data) + 100_000))
    handler.end_headers()
    while not handler.server.owner.closing.wait(0.2):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def half_answer(handler):
    """Fewer bytes than its Content-Length says."""
    data = json.dumps(GOOD).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[:len(data) // 2])
    end(handler)


def half_chunks(handler):
    """Chunks without the last one: cut between two, all JSON there."""
    data = json.dumps(GOOD).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    end(handler)


def half_head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    end(handler)


def no_head(handler):
    end(handler)


def reset(handler):
    """RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    end(handler)


def endless_head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        for i in range(400_000):
            handler.wfile.write(b"X-%d: " % i + b"x" * 250 + b"\r\n")
    end(handler)


def huge_json(handler):
    """100 MB of JSON that is right."""
    size = 100_000_000
    head, tail = b'{"success":true,"exit_code":0,"execution_time":0.1,"error":null,"output":"', b'"}'
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(head) + size + len(tail)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(head)
        for _ in range(100):
            handler.wfile.write(b"x" * 1_000_000)
        handler.wfile.write(tail)


def deep_json(handler):
    send(handler, 200, b'{"success":true,"output":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


def wrong_type(handler):
    send(handler, 200, b"it works", "text/plain")


def wrong_type_with_json(handler):
    """An answer that would do, called something else."""
    send(handler, 200, json.dumps(GOOD).encode(), "text/html; charset=utf-8")


def html_page(handler):
    send(handler, 502, PAGE, "text/html")


def html_page_200(handler):
    send(handler, 200, PAGE, "text/html")


def json_list(handler):
    send(handler, 200, b"[1,2]")


def json_of_wrong_types(handler):
    send(handler, 200, json.dumps({**GOOD, "exit_code": "zero", "success": "yes", "output": 5}).encode())


def json_without_members(handler):
    send(handler, 200, b"{}")


def json_of_huge_numbers(handler):
    send(handler, 200, b'{"success":true,"output":"","error":null,"exit_code":1e300,"execution_time":1e400}')


def json_cut(handler):
    send(handler, 200, json.dumps(GOOD).encode()[:-5])


def json_not_utf8(handler):
    send(handler, 200, b'{"success":true,"output":"\xff\xfe","error":null,"exit_code":0,"execution_time":0.1}')


def empty_200(handler):
    send(handler, 200, b"")


def nothing_204(handler):
    handler.send_response(204)
    handler.end_headers()


def redirect(handler, status=302):
    where = handler.server.owner.elsewhere + handler.path
    send(handler, status, b"", "text/plain", Location=where)


def redirect_307(handler):
    redirect(handler, 307)


def redirect_308(handler):
    redirect(handler, 308)


def redirect_loop(handler):
    send(handler, 307, b"", "text/plain", Location=handler.path)


def status_401(handler):
    send(handler, 401, b'{"detail":"Invalid or missing API key"}', WWW_Authenticate="ApiKey")


def status_403(handler):
    send(handler, 403, b'{"detail":"Not authenticated"}')


def status_404(handler):
    send(handler, 404, b'{"detail":"Not Found"}')


def status_429(handler):
    send(handler, 429, b'{"detail":"Rate limit exceeded"}', Retry_After="7")


def status_429_once(handler):
    """The first is refused, and may be sent again in a second."""
    owner = handler.server.owner
    with owner.lock:
        owner.count += 1
        first = owner.count == 1
    if first:
        send(handler, 429, b'{"detail":"Rate limit exceeded"}', Retry_After="1")
    else:
        send(handler, 200, json.dumps(GOOD).encode())


def status_500(handler):
    send(handler, 500, b"Internal Server Error", "text/plain")


def status_503(handler):
    send(handler, 503, b'{"detail":"Docker daemon not running"}', Retry_After="11")


def status_503_long(handler):
    send(handler, 503, b'{"detail":"no capacity"}', Retry_After="99999999999999999999")


def status_999(handler):
    send(handler, 999, b"{}")


def continue_for_ever(handler):
    """100 Continue, again and again."""
    with contextlib.suppress(OSError):
        while not handler.server.owner.closing.wait(0.01):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def two_lengths(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 200\r\n\r\n{}")
    end(handler)


def bomb(handler):
    """1 GB of zeros in 1 MB of gzip: nobody asked for a coding."""
    block = gzip.compress(b" " * 100_000_000, 9)
    send(handler, 200, block * 10, Content_Encoding="gzip")


def good(handler):
    send(handler, 200, json.dumps(GOOD).encode())


# What a client has to make of each is in tests/integration/remote_test.py.
BEHAVIOURS = {f.__name__.replace("_", "-"): f for f in (
    no_answer, slow_drip, half_answer, half_chunks, half_head, no_head, reset, no_http, endless_head, huge_json, deep_json,
    wrong_type, wrong_type_with_json, html_page, html_page_200, json_list, json_of_wrong_types, json_without_members,
    json_of_huge_numbers, json_cut, json_not_utf8, empty_200, nothing_204, redirect, redirect_307, redirect_308, redirect_loop,
    status_401, status_403, status_404, status_429, status_429_once, status_500, status_503, status_503_long, status_999,
    continue_for_ever, two_lengths, bomb, good)}


class BadHandler(Handler):
    def serve(self):
        owner = self.server.owner
        name = owner.always
        parts = urllib.parse.unquote(self.path.partition("?")[0]).split("/")
        if len(parts) > 2 and parts[1] == "sandbox" and (owner.life or parts[-1] not in ("create", "status")):
            name = name or parts[2]
        if name not in BEHAVIOURS:
            super().serve()
            return
        self.note(self.body())
        BEHAVIOURS[name](self)

    do_GET = do_POST = do_DELETE = do_PUT = serve


class BadPeer(PlainService):
    def __init__(self, key="", always="", elsewhere="", **more):
        super().__init__(key, handler=BadHandler, **more)
        self.always, self.elsewhere, self.count = always, elsewhere, 0
        self.life = False  # True: sandboxes cannot be made or looked at either
        self.lock, self.closing = threading.Lock(), threading.Event()

    def close(self):
        self.closing.set()
        super().close()


class Recorder:
    """Keeps every request and answers it well: what a redirect leads to."""

    class _Handler(Handler):
        def serve(self):
            self.note(self.body())
            good(self)

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = serve

    def __enter__(self):
        self.requests = []
        self.server = Server(("127.0.0.1", 0), self._Handler)
        self.server.owner = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
