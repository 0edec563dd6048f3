# SPDX-License-Identifier: Apache-2.0
"""Requests and answers over one connection that is kept, and opened anew where that is safe."""
import http.client
import json
import socket
import ssl
import threading
import uuid
from typing import IO, Any, Dict, Iterator, Mapping, Optional, Tuple, Union, cast
from urllib.parse import urlencode, urlsplit

from .errors import ConnectionFailed, SandboxError

Body = Union[bytes, IO[bytes]]


class Transport:
    """Not for several threads at once on one connection: each has its own."""

    def __init__(self, url: str, api_key: Optional[str], timeout: float, context: Optional[ssl.SSLContext]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address like http://host:8080")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._key = api_key
        self.timeout = timeout
        self._context = context
        self._kept = threading.local()

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def close(self) -> None:
        connection = getattr(self._kept, "connection", None)
        if connection is not None:
            connection.close()
            self._kept.connection = None

    def _send(self, connection: http.client.HTTPConnection, method: str, path: str, query: Mapping[str, Any],
              body: Optional[Body], headers: Dict[str, str]) -> http.client.HTTPResponse:
        words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()
                 if value is not None}
        target = self._prefix + path + ("?" + urlencode(words) if words else "")
        if self._key:
            headers["X-API-Key"] = self._key
        connection.request(method, target, body=body, headers=headers)
        return connection.getresponse()

    def request(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None,
                body: Optional[Mapping[str, Any]] = None, raw: Optional[Body] = None,
                accept: str = "application/json", timeout: Optional[float] = None) -> Tuple[bytes, Mapping[str, str]]:
        """The whole answer. A connection that had ended meanwhile is opened anew once: with GET and DELETE always, else
        by an Idempotency-Key, by which the service runs nothing twice; a raw stream is sent once only."""
        headers = {"Accept": accept}
        data: Optional[Body] = raw
        if body is not None:
            data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            headers["Content-Type"] = "application/json"
        elif raw is not None:
            headers["Content-Type"] = "application/octet-stream"
        repeatable = raw is None or isinstance(raw, bytes)
        if method == "POST" and repeatable:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        for attempt in (1, 2):
            kept = getattr(self._kept, "connection", None)
            connection = kept or self._open(self.timeout)
            self._kept.connection = None
            connection.timeout = timeout or self.timeout
            if connection.sock is not None:
                connection.sock.settimeout(connection.timeout)
            try:
                answer = self._send(connection, method, path, query or {}, data, headers)
                content = answer.read()
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                # Only where the old connection may just have been closed: a fresh one that fails says something.
                if attempt == 1 and kept is not None and repeatable and not isinstance(error, socket.timeout):
                    continue
                raise ConnectionFailed(f"{method} {path}: {error or type(error).__name__}", method != "GET") from error
            self._kept.connection = connection
            fields = {name.lower(): value for name, value in answer.getheaders()}
            self._check(answer.status, content, fields)
            return content, fields
        raise AssertionError("not reached")

    def json(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None,
             body: Optional[Mapping[str, Any]] = None, timeout: Optional[float] = None) -> Dict[str, Any]:
        content, _ = self.request(method, path, query, body, timeout=timeout)
        return cast(Dict[str, Any], json.loads(content))

    def lines(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None,
              body: Optional[Mapping[str, Any]] = None) -> Iterator[Dict[str, Any]]:
        """Objects as they come, on a connection of their own; leaving the loop ends the request."""
        connection = self._open(self.timeout)
        try:
            headers = {"Accept": "application/x-ndjson"}
            data = None
            if body is not None:
                data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
                headers["Content-Type"] = "application/json"
            try:
                answer = self._send(connection, method, path, query or {}, data, headers)
                if answer.status >= 300:
                    self._check(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
                # A program may be silent for long.
                if connection.sock is not None:
                    connection.sock.settimeout(None)
                for line in answer:
                    if line.strip():
                        yield cast(Dict[str, Any], json.loads(line))
            except (http.client.HTTPException, OSError) as error:
                raise ConnectionFailed(f"{method} {path}: {error or type(error).__name__}", True) from error
        finally:
            connection.close()

    @staticmethod
    def _check(status: int, content: bytes, fields: Mapping[str, str]) -> None:
        if status < 300:
            return
        try:
            body = json.loads(content)
        except ValueError:
            body = {"error": content[:200].decode("utf-8", "replace")}
        after = fields.get("retry-after", "")
        raise SandboxError(status, body if isinstance(body, dict) else {}, float(after) if after.isdigit() else None)
