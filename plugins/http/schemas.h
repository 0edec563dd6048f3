// SPDX-License-Identifier: Apache-2.0
//
// schemas.h: the answers' JSON Schemas, as the member `components.schemas` of an OpenAPI document.
#pragma once

namespace csb::http {

inline constexpr char kSchemas[] = R"json({
"Error": {"type": "object", "required": ["error", "detail"], "properties": {
  "error": {"type": "string", "description": "What failed, on what."},
  "detail": {"type": "string", "description": "The same, and what to do next."},
  "code": {"type": "string", "examples": ["not_found"]}}},
"Execution": {"type": "object",
  "required": ["success", "output", "error", "exit_code", "execution_time"], "properties": {
  "success": {"type": "boolean", "description": "`exit_code` is 0."},
  "output": {"type": "string", "description": "stdout"},
  "error": {"type": ["string", "null"], "description": "stderr or a message; null when there is none."},
  "exit_code": {"type": "integer"},
  "execution_time": {"type": "number", "description": "Seconds."},
  "timed_out": {"type": "boolean"},
  "oom_killed": {"type": "boolean"},
  "truncated": {"type": "boolean", "description": "Output was dropped between head and tail."},
  "stdout_bytes": {"type": "integer", "description": "Bytes written, dropped ones included."},
  "stderr_bytes": {"type": "integer"},
  "cause": {"enum": ["exit", "signal", "deadline", "oom", "cancelled", "running"],
    "description": "How a program ended; `cancelled` by a stop of the sandbox or of the service; `running`: not yet."},
  "handle": {"type": "string", "description": "Of a run that goes on, or whose output was kept."},
  "running": {"type": "boolean", "description": "It outlived `yield_after` and goes on."},
  "signal": {"type": "integer", "description": "That ended it; 0 when none did."},
  "stdout_dropped": {"type": "integer", "description": "Of stdout_bytes, those between head and tail."},
  "stderr_dropped": {"type": "integer"},
  "message": {"type": "string", "description": "Why the run was ended; empty when it just ended."},
  "hint": {"type": "string", "description": "What can be done about it."},
  "context": {"type": "object", "description": "Of an execution in a context.", "properties": {
    "name": {"type": "string"}, "executions": {"type": "integer"},
    "new": {"type": "boolean", "description": "It was started for this execution."},
    "lost": {"type": "string", "description": "Why the one of that name before is gone, with its state."},
    "kept": {"type": "boolean", "description": "It goes on; false: it ended, the next starts fresh."},
    "interrupted": {"type": "boolean"}}},
  "results": {"type": "array", "description": "Of execute: what the code showed.",
    "items": {"$ref": "#/components/schemas/Shown"}}}},
"Process": {"type": "object", "required": ["handle", "state"], "properties": {
  "handle": {"type": "string"}, "kind": {"enum": ["process", "shell", "execute", "exec"]},
  "command": {"type": "string", "description": "Its first 200 characters."},
  "state": {"enum": ["running", "exited"]},
  "started_at": {"type": "string", "format": "date-time"}, "ended_at": {"type": "string", "format": "date-time"},
  "exit_code": {"type": "integer"}, "cause": {"enum": ["exit", "signal", "deadline", "oom", "cancelled"]},
  "signal": {"type": "integer"}, "message": {"type": "string"}, "hint": {"type": "string"},
  "execution_time": {"type": "number"}, "terminal": {"type": "boolean"},
  "input": {"type": "boolean", "description": "Its stdin is open."},
  "bytes": {"type": "integer", "description": "That it has printed, both streams together."},
  "first_offset": {"type": "integer", "description": "Of the oldest byte that is kept."}}},
"Processes": {"type": "object", "required": ["processes"], "properties": {
  "processes": {"type": "array", "items": {"$ref": "#/components/schemas/Process"}}}},
"ProcessOutput": {"allOf": [{"$ref": "#/components/schemas/Process"}, {"type": "object",
  "required": ["output", "next_offset"], "properties": {
  "output": {"type": "string"}, "encoding": {"enum": ["utf-8", "base64"]}, "running": {"type": "boolean"},
  "offset": {"type": "integer", "description": "Of the first byte of `output`."},
  "next_offset": {"type": "integer", "description": "Where to read on."}}}]},
"Written": {"type": "object", "properties": {"written": {"type": "integer", "description": "Bytes."}}},
"Nothing": {"type": "object"},
"Shown": {"type": "object", "required": ["kind", "data"], "properties": {
  "kind": {"enum": ["display", "value"], "description": "value: of the last expression."},
  "data": {"type": "object", "description": "By MIME type: text, JSON, or base64 of pictures.",
    "examples": [{"text/plain": "42"}]}}},
"Context": {"type": "object", "required": ["name", "state"], "properties": {
  "name": {"type": "string"}, "state": {"enum": ["idle", "busy"]},
  "created_at": {"type": "string", "format": "date-time"}, "last_used": {"type": "string", "format": "date-time"},
  "executions": {"type": "integer"}, "memory": {"type": "integer", "description": "Bytes, after its last execution."}}},
"Contexts": {"type": "object", "required": ["contexts"], "properties": {
  "contexts": {"type": "array", "items": {"$ref": "#/components/schemas/Context"}}}},
"Deleted": {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["deleted", "not_found"]}}},
"Unpacked": {"allOf": [{"$ref": "#/components/schemas/Execution"}, {"type": "object", "properties": {
  "destination": {"type": "string"}, "files": {"type": "integer"}, "folders": {"type": "integer"},
  "links": {"type": "integer"}, "bytes": {"type": "integer"}}}]},
"ExecutionEvent": {"type": "object", "required": ["event"], "properties": {
  "event": {"enum": ["stdout", "stderr", "dropped", "progress", "result", "exit", "error"]},
  "data": {"type": "string", "description": "stdout, stderr: the next piece of text."},
  "encoding": {"enum": ["base64"], "description": "stdout, stderr: `data` is base64 of the exact bytes."},
  "stream": {"enum": ["stdout", "stderr"], "description": "dropped: where."},
  "bytes": {"type": "integer", "description": "dropped: how many bytes are missing here."},
  "message": {"type": "string", "description": "progress"},
  "kind": {"type": "string", "description": "result, with its object `data`, as Shown"}},
  "description": "One line of a stream. `exit` has the members of Execution (with `output` empty), `error` those of Error."},
"SandboxInfo": {"type": "object", "required": ["user_id", "status"], "properties": {
  "user_id": {"type": "string"},
  "container_id": {"type": ["string", "null"]},
  "status": {"type": "string", "examples": ["running", "stopped"]},
  "created_at": {"type": ["string", "null"], "format": "date-time"},
  "last_used": {"type": ["string", "null"], "format": "date-time"},
  "execution_count": {"type": "integer"},
  "memory_usage_mb": {"type": ["number", "null"]},
  "cpu_percent": {"type": ["number", "null"]},
  "backend": {"type": "string"},
  "type": {"enum": ["container", "vm"], "description": "Of a backend that makes both."},
  "member": {"type": "string", "description": "Of the engine's cluster: where it is. Absent outside a cluster."},
  "old_copy": {"type": "boolean", "description": "What a move left on this backend; it is not served."},
  "limits": {"type": "object"},
  "enforced": {"type": "object", "description": "What is really enforced, read back from the sandbox.",
    "additionalProperties": {"type": "object", "properties": {
      "enforced": {"type": "boolean"}, "value": {"type": "string"}, "by": {"type": "string"}}}}}},
"SandboxList": {"type": "object", "required": ["sandboxes"], "properties": {
  "sandboxes": {"type": "array", "items": {"$ref": "#/components/schemas/SandboxInfo"}},
  "unavailable": {"type": "array", "description": "Backends that did not answer.",
    "items": {"type": "object", "properties": {"backend": {"type": "string"}, "reason": {"type": "string"}}}}}},
"Stopped": {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["stopped", "not_found"]}}},
"Destroyed": {"type": "object", "required": ["status"], "properties": {
  "status": {"enum": ["deleted", "not_found"]}, "files_preserved": {"type": "boolean"}}},
"FileContent": {"type": "object", "required": ["path", "content", "encoding", "size"], "properties": {
  "path": {"type": "string"},
  "content": {"type": "string"},
  "encoding": {"enum": ["utf-8", "base64"], "description": "base64 where the file is not UTF-8."},
  "size": {"type": "integer"}}},
"FileEntry": {"type": "object", "required": ["name", "type"], "properties": {
  "name": {"type": "string"},
  "type": {"enum": ["file", "dir", "link", "fifo", "socket", "char", "block"]},
  "size": {"type": "integer"}, "mode": {"type": "string"}, "mtime": {"type": "string"},
  "target": {"type": "string"}}},
"FileList": {"allOf": [{"$ref": "#/components/schemas/Execution"}, {"type": "object", "properties": {
  "path": {"type": "string"},
  "entries": {"type": "array", "items": {"$ref": "#/components/schemas/FileEntry"}}}}]},
"Health": {"type": "object", "required": ["status"], "properties": {
  "status": {"enum": ["healthy", "unhealthy"]}, "docker": {"type": "boolean"}, "version": {"type": "string"},
  "backends": {"type": "object", "additionalProperties": {"type": "object", "properties": {
    "available": {"type": "boolean"}, "reason": {"type": "string"}}}}}},
"Info": {"type": "object", "properties": {
  "version": {"type": "string"}, "available": {"type": "boolean"}, "docker_version": {"type": ["string", "null"]},
  "active_sandboxes": {"type": "integer"}, "max_sandboxes": {"type": "integer"}, "host_info": {"type": "object"},
  "mode": {"type": "string"},
  "chosen": {"type": ["string", "null"], "description": "The backend of a new user's sandbox, as of now."},
  "candidates": {"type": "array", "description": "Every backend that was found, in the order of trying.",
    "items": {"type": "object", "required": ["name", "available", "chosen", "reason"], "properties": {
    "name": {"type": "string"}, "available": {"type": "boolean"}, "chosen": {"type": "boolean"},
    "reason": {"type": "string", "description": "Why it is chosen, or why not."}, "hint": {"type": "string"},
    "version": {"type": "string"}, "isolation": {"type": "string"}, "type": {"enum": ["vm"]},
    "enforces": {"type": "object"}}}}}}
})json";

}  // namespace csb::http
