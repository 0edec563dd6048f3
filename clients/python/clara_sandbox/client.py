# SPDX-License-Identifier: Apache-2.0
"""The calls. A Client is a service, a Sandbox one user's place in it; both are cheap, and made without a request.

    client = Client("http://127.0.0.1:8080", api_key="…")
    run = client.sandbox("alice").execute("print(1)")
"""
import base64
import shutil
import ssl
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union
from urllib.parse import quote

from .models import Context, Event, Execution, FileEntry, Output, Process
from .transport import Transport

# The service ends a call by itself; this much later it must have answered.
_SPARE = 30.0


class Client:
    """timeout: seconds to wait for an answer where a call has no time of its own."""

    def __init__(self, url: str, api_key: Optional[str] = None, timeout: float = 120,
                 ssl_context: Optional[ssl.SSLContext] = None) -> None:
        self._transport = Transport(url, api_key, timeout, ssl_context)

    def sandbox(self, user_id: str) -> "Sandbox":
        return Sandbox(self._transport, user_id)

    def health(self) -> Dict[str, Any]:
        return self._transport.json("GET", "/health")

    def info(self) -> Dict[str, Any]:
        return self._transport.json("GET", "/info")

    def sandboxes(self) -> List[Dict[str, Any]]:
        return list(self._transport.json("GET", "/sandboxes")["sandboxes"])

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sandbox:
    """Made by the service on the first call that runs something."""

    def __init__(self, transport: Transport, user_id: str) -> None:
        self._transport = transport
        self.user_id = user_id
        self._at = "/sandbox/" + quote(user_id, safe="")

    # ---- running code ----

    def execute(self, code: str, *, timeout: Optional[float] = None, context: Optional[str] = None,
                results: Optional[bool] = None, stdin: Union[str, bytes, None] = None,
                args: Optional[Sequence[str]] = None, cwd: Optional[str] = None,
                env: Optional[Mapping[str, str]] = None, keep: Optional[bool] = None,
                yield_after: Optional[float] = None, **more: Any) -> Execution:
        """Python. context: in the interpreter of that name, which keeps its state. results: answer what it shows."""
        return self._run("execute", timeout, {"code": code, "context": context, "results": results, "args": args,
                                              "cwd": cwd, "env": env, "keep": keep, "yield_after": yield_after,
                                              **_stdin(stdin), **more})

    def shell(self, command: str, *, timeout: Optional[float] = None, stdin: Union[str, bytes, None] = None,
              cwd: Optional[str] = None, env: Optional[Mapping[str, str]] = None, keep: Optional[bool] = None,
              yield_after: Optional[float] = None, **more: Any) -> Execution:
        return self._run("shell", timeout, {"command": command, "cwd": cwd, "env": env, "keep": keep,
                                            "yield_after": yield_after, **_stdin(stdin), **more})

    def exec(self, argv: Sequence[str], *, timeout: Optional[float] = None, stdin: Union[str, bytes, None] = None,
             cwd: Optional[str] = None, env: Optional[Mapping[str, str]] = None, keep: Optional[bool] = None,
             yield_after: Optional[float] = None, **more: Any) -> Execution:
        """A program and its arguments, without a shell."""
        return self._run("exec", timeout, {"argv": list(argv), "cwd": cwd, "env": env, "keep": keep,
                                           "yield_after": yield_after, **_stdin(stdin), **more})

    def pip_install(self, package: str, *, timeout: Optional[float] = None) -> Execution:
        return self._run("pip/install", timeout, {"package": package})

    def pip_list(self) -> Execution:
        return Execution.of(self._transport.json("GET", self._at + "/pip/list"))

    def stream_execute(self, code: str, **options: Any) -> Iterator[Event]:
        """Events as they happen; the last is `exit`. Leaving the loop ends the run."""
        return self._stream("execute", {"code": code, **options})

    def stream_shell(self, command: str, **options: Any) -> Iterator[Event]:
        return self._stream("shell", {"command": command, **options})

    def stream_exec(self, argv: Sequence[str], **options: Any) -> Iterator[Event]:
        return self._stream("exec", {"argv": list(argv), **options})

    def _run(self, what: str, timeout: Optional[float], body: Mapping[str, Any]) -> Execution:
        wait = None if timeout is None else timeout + _SPARE
        return Execution.of(self._transport.json("POST", f"{self._at}/{what}", body={**body, "timeout": timeout},
                                                 timeout=wait))

    def _stream(self, what: str, body: Dict[str, Any]) -> Iterator[Event]:
        body.update(_stdin(body.pop("stdin", None)))
        for line in self._transport.lines("POST", f"{self._at}/{what}", body={**body, "encoding": "base64"}):
            yield Event.of(line)

    # ---- contexts ----

    def contexts(self) -> List[Context]:
        return [Context.of(one) for one in self._transport.json("GET", self._at + "/contexts")["contexts"]]

    def context(self, name: str) -> Context:
        return Context.of(self._transport.json("GET", f"{self._at}/contexts/{quote(name, safe='')}"))

    def delete_context(self, name: str) -> bool:
        """False: there was none."""
        return bool(self._transport.json("DELETE", f"{self._at}/contexts/{quote(name, safe='')}")["status"] == "deleted")

    # ---- programs in the background ----

    def start_process(self, command: Union[str, Sequence[str]], *, cwd: Optional[str] = None,
                      env: Optional[Mapping[str, str]] = None, timeout: Optional[float] = None,
                      terminal: Optional[Mapping[str, int]] = None, input: Optional[bool] = None) -> Process:
        """A text for the shell, or a program and its arguments. terminal: {"rows": 24, "cols": 80}."""
        what: Dict[str, Any] = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        return Process.of(self._transport.json("POST", self._at + "/processes", body={
            **what, "cwd": cwd, "env": env, "timeout": timeout, "terminal": terminal, "input": input}))

    def processes(self) -> List[Process]:
        return [Process.of(one) for one in self._transport.json("GET", self._at + "/processes")["processes"]]

    def process(self, handle: str) -> Process:
        return Process.of(self._transport.json("GET", self._process(handle)))

    def process_output(self, handle: str, offset: int = 0, limit: Optional[int] = None,
                       wait: Optional[int] = None) -> Output:
        """wait: seconds, when there is nothing beyond the offset."""
        raw = self._transport.json("GET", self._process(handle) + "/output", query={
            "offset": offset, "limit": limit, "wait": wait, "encoding": "base64"},
            timeout=None if wait is None else wait + _SPARE)
        return Output(base64.b64decode(raw["output"]), int(raw["offset"]), int(raw["next_offset"]), Process.of(raw))

    def follow_process(self, handle: str, offset: int = 0) -> Iterator[Event]:
        """Its output as it comes, until it ends. Leaving the loop leaves it running."""
        for line in self._transport.lines("GET", self._process(handle) + "/output",
                                          query={"offset": offset, "encoding": "base64"}):
            yield Event.of(line)

    def write_process(self, handle: str, data: Union[str, bytes], eof: bool = False) -> int:
        raw = data.encode() if isinstance(data, str) else data
        return int(self._transport.json("POST", self._process(handle) + "/input", body={
            "content": base64.b64encode(raw).decode(), "encoding": "base64", "eof": eof})["written"])

    def signal_process(self, handle: str, signal: Union[str, int]) -> Process:
        return Process.of(self._transport.json("POST", self._process(handle) + "/signal", body={"signal": signal}))

    def wait_process(self, handle: str, timeout: float = 30) -> Process:
        """As it is then: look at `running`."""
        return Process.of(self._transport.json("POST", self._process(handle) + "/wait", body={"timeout": timeout},
                                               timeout=timeout + _SPARE))

    def remove_process(self, handle: str) -> None:
        self._transport.json("DELETE", self._process(handle))

    def _process(self, handle: str) -> str:
        return f"{self._at}/processes/{quote(handle, safe='')}"

    # ---- files ----

    def read_file(self, path: str) -> bytes:
        return self._transport.request("GET", self._at + "/file", {"path": path}, accept="application/octet-stream")[0]

    def write_file(self, path: str, content: Union[str, bytes, IO[bytes]]) -> None:
        """Atomic; missing folders are made. A file object is read as it is sent."""
        data = content.encode() if isinstance(content, str) else content
        self._transport.request("POST", self._at + "/file", {"path": path}, raw=data)

    def upload(self, local: str, path: str) -> None:
        with open(local, "rb") as file:
            self.write_file(path, file)

    def download(self, path: str, local: str) -> None:
        """By pieces: the file may be larger than the memory."""
        connection = self._transport._open(self._transport.timeout)
        try:
            answer = self._transport._send(connection, "GET", self._at + "/file", {"path": path}, None,
                                           {"Accept": "application/octet-stream"})
            if answer.status >= 300:
                self._transport._check(answer.status, answer.read(), {})
            with open(local, "wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        finally:
            connection.close()

    def list_files(self, path: Optional[str] = None) -> List[FileEntry]:
        return [FileEntry.of(one) for one in
                self._transport.json("GET", self._at + "/files", {"path": path})["entries"]]

    def stat(self, path: str) -> FileEntry:
        return FileEntry.of(self._transport.json("GET", self._at + "/stat", {"path": path}))

    def delete_file(self, path: str, recursive: bool = False) -> None:
        self._transport.json("DELETE", self._at + "/file", {"path": path, "recursive": recursive})

    def unzip(self, path: str, destination: Optional[str] = None) -> Execution:
        return self._run("unzip", None, {"path": path, "destination": destination})

    # ---- its life ----

    def create(self, **options: Any) -> Dict[str, Any]:
        """image, memory_limit, cpu_limit, backend. Not needed before other calls."""
        return self._transport.json("POST", self._at + "/create", body=options)

    def status(self) -> Dict[str, Any]:
        return self._transport.json("GET", self._at + "/status")

    def stop(self) -> str:
        return str(self._transport.json("POST", self._at + "/stop", body={})["status"])

    def restart(self) -> Dict[str, Any]:
        return self._transport.json("POST", self._at + "/restart", body={})

    def destroy(self, purge: bool = False) -> Dict[str, Any]:
        """purge: with its files."""
        return self._transport.json("DELETE", self._at, {"purge": purge})


def _stdin(stdin: Union[str, bytes, None]) -> Dict[str, Any]:
    if stdin is None:
        return {}
    if isinstance(stdin, str):
        return {"stdin": stdin}
    return {"stdin": base64.b64encode(stdin).decode(), "stdin_encoding": "base64"}
