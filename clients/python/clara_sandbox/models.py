# SPDX-License-Identifier: Apache-2.0
"""The service's answers. Each has the whole JSON object as `raw`, for members that are newer than this client."""
import base64
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional


@dataclass(frozen=True)
class Shown:
    """One thing that code showed. data: by MIME type; pictures are base64 there."""

    kind: str  # "display", or "value" of the last expression
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        return str(self.data.get("text/plain", ""))

    def image(self) -> Optional[bytes]:
        """The picture's bytes, PNG before JPEG."""
        for kind in ("image/png", "image/jpeg"):
            if kind in self.data:
                return base64.b64decode(self.data[kind])
        return None


@dataclass(frozen=True)
class Execution:
    """A run that ended, or that goes on (`running`, with a `handle`)."""

    success: bool
    output: str
    error: Optional[str]
    exit_code: int
    execution_time: float
    timed_out: bool
    oom_killed: bool
    truncated: bool
    running: bool
    handle: Optional[str]
    results: List[Shown]
    context: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Execution":
        return cls(bool(raw["success"]), str(raw.get("output") or ""), raw.get("error"), int(raw["exit_code"]),
                   float(raw["execution_time"]), bool(raw.get("timed_out")), bool(raw.get("oom_killed")),
                   bool(raw.get("truncated")), bool(raw.get("running")), raw.get("handle"),
                   [Shown(str(one["kind"]), one["data"]) for one in raw.get("results") or []],
                   raw.get("context") or {}, raw)


@dataclass(frozen=True)
class Event:
    """One of a streamed run. kind: stdout stderr result dropped progress exit error.

    data: the bytes of stdout and stderr, exactly. execution: of `exit`. shown: of `result`.
    """

    kind: str
    data: bytes
    execution: Optional[Execution]
    shown: Optional[Shown]
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Event":
        kind = str(raw.get("event"))
        data = raw.get("data", "") if kind in ("stdout", "stderr") else ""
        content = base64.b64decode(data) if raw.get("encoding") == "base64" else str(data).encode()
        execution = Execution.of(raw) if kind == "exit" and "success" in raw else None
        shown = Shown(str(raw["kind"]), raw["data"]) if kind == "result" else None
        return cls(kind, content, execution, shown, raw)


@dataclass(frozen=True)
class Process:
    """A program in the background. state: "running" or "exited"."""

    handle: str
    state: str
    command: str
    exit_code: Optional[int]
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def running(self) -> bool:
        return self.state == "running"

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Process":
        return cls(str(raw["handle"]), str(raw["state"]), str(raw.get("command", "")), raw.get("exit_code"), raw)


@dataclass(frozen=True)
class Output:
    """A piece of a process's output, both streams in order; go on at next_offset."""

    data: bytes
    offset: int
    next_offset: int
    process: Process

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class Context:
    """An interpreter that keeps its state. state: "idle" or "busy"; memory in bytes."""

    name: str
    state: str
    executions: int
    memory: int
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Context":
        return cls(str(raw["name"]), str(raw["state"]), int(raw.get("executions", 0)), int(raw.get("memory", 0)), raw)


@dataclass(frozen=True)
class FileEntry:
    """A file or folder. type: file dir link fifo socket char block."""

    name: str
    type: str
    size: int
    mode: str
    mtime: str
    raw: Dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Dict[str, Any]) -> "FileEntry":
        return cls(str(raw["name"]), str(raw["type"]), int(raw.get("size", 0)), str(raw.get("mode", "")),
                   str(raw.get("mtime", "")), raw)
