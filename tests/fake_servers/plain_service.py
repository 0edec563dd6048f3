#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A scripted peer for tests: a service with the plain endpoints of the REST API and nothing more, as a FastAPI program
has them. It is no sandbox: code runs in bwrap only so that /workspace is there and users' files are apart.

    with PlainService(key="k") as peer:               # or: plain_service.py --port 8080 --key k
        clara-sandbox serve --remote.url=peer.url --remote.api_key=k …
        peer.requests                                   # what came in: method, target, headers, body

JSON only. No streams, raw bytes, stdin, cwd, env or args: fields that are not in its /openapi.json are ignored, as
pydantic ignores them. Errors are {"detail": …}, those of a field a list. A path is decoded before it is routed, so
that a user id with a slash finds no route: 404 {"detail":"Not Found"}.
"""
import argparse
import base64
import dataclasses
import datetime
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import zipfile

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
OPTIONAL_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def seconds(default, most=300):
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


# name: (fields, required)
MODELS = {
    "CreateRequest": ({"image": OPTIONAL_TEXT, "memory_limit": OPTIONAL_TEXT,
                       "cpu_limit": {"anyOf": [{"type": "number"}, {"type": "null"}]}}, []),
    "ExecuteRequest": ({"code": TEXT, "description": {"type": "string", "default": ""}, "timeout": seconds(30)}, ["code"]),
    "ShellRequest": ({"command": TEXT, "timeout": seconds(60)}, ["command"]),
    "PipInstallRequest": ({"package": TEXT, "timeout": seconds(120)}, ["package"]),
    "WriteFileRequest": ({"path": TEXT, "content": TEXT,
                          "encoding": {"type": "string", "enum": ["utf-8", "base64"], "default": "utf-8"}}, ["path", "content"]),
    "UnzipRequest": ({"path": TEXT, "destination": OPTIONAL_TEXT}, ["path"]),
    "ExecutionResponse": ({"success": {"type": "boolean"}, "output": TEXT, "error": OPTIONAL_TEXT,
                           "exit_code": {"type": "integer"}, "execution_time": NUMBER},
                          ["success", "output", "exit_code", "execution_time"]),
    "SandboxInfo": ({"user_id": TEXT, "container_id": TEXT, "status": TEXT, "created_at": TEXT, "last_used": TEXT,
                     "execution_count": {"type": "integer"}, "memory_usage_mb": NUMBER, "cpu_percent": NUMBER},
                    ["user_id", "container_id", "status"]),
    "FileResponse": ({"path": TEXT, "content": TEXT, "encoding": TEXT, "size": {"type": "integer"}}, ["path", "content"]),
}
PATH_QUERY = [("path", True, TEXT)]
USER = "/sandbox/{user_id}"
# method, path, handler, body model, query, answer's model
ROUTES = [
    ("POST", USER + "/create", "create", "CreateRequest", [], "SandboxInfo"),
    ("POST", USER + "/execute", "execute", "ExecuteRequest", [], "ExecutionResponse"),
    ("POST", USER + "/shell", "shell", "ShellRequest", [], "ExecutionResponse"),
    ("POST", USER + "/pip/install", "pip_install", "PipInstallRequest", [], "ExecutionResponse"),
    ("GET", USER + "/pip/list", "pip_list", None, [], "ExecutionResponse"),
    ("GET", USER + "/files", "list_files", None, [("path", False, {"type": "string", "default": "/workspace"})],
     "ExecutionResponse"),
    ("GET", USER + "/file", "read_file", None, PATH_QUERY, "FileResponse"),
    ("POST", USER + "/file", "write_file", "WriteFileRequest", [], "ExecutionResponse"),
    ("DELETE", USER + "/file", "delete_file", None, PATH_QUERY, "ExecutionResponse"),
    ("POST", USER + "/unzip", "unzip", "UnzipRequest", [], "ExecutionResponse"),
    ("GET", USER + "/status", "status", None, [], "SandboxInfo"),
    ("POST", USER + "/stop", "stop", None, [], None),
    ("POST", USER + "/restart", "restart", None, [], "SandboxInfo"),
    ("DELETE", USER + "/destroy", "destroy", None, [("purge", False, {"type": "boolean", "default": False})], None),
    ("DELETE", USER, "destroy", None, [("purge", False, {"type": "boolean", "default": False})], None),
    ("GET", "/health", "health", None, [], None),
    ("GET", "/info", "info", None, [], None),
]


def openapi():
    reference = "#/components/schemas/"
    paths = {}
    for method, path, name, model, query, answer in ROUTES:
        parameters = [{"name": "user_id", "in": "path", "required": True, "schema": TEXT}] if "{" in path else []
        parameters += [{"name": n, "in": "query", "required": required, "schema": s} for n, required, s in query]
        schema = {"$ref": reference + answer} if answer else {}
        operation = {"summary": name, "operationId": f"{name}_{method.lower()}", "parameters": parameters,
                     "responses": {"200": {"description": "Successful Response", "content": {"application/json": {"schema": schema}}},
                                   "422": {"description": "Validation Error", "content": {"application/json": {
                                       "schema": {"$ref": reference + "HTTPValidationError"}}}}}}
        if model:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"$ref": reference + model}}}}
        if path != "/health":
            operation["security"] = [{"APIKeyHeader": []}]
        paths.setdefault(path, {})[method.lower()] = operation
    schemas = {name: {"type": "object", "title": name, "properties": fields, **({"required": required} if required else {})}
               for name, (fields, required) in MODELS.items()}
    schemas["HTTPValidationError"] = {"type": "object", "properties": {"detail": {"type": "array", "items": {"type": "object"}}}}
    return {"openapi": "3.1.0", "info": {"title": "Sandbox API", "version": "1.0.0"}, "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {
                "APIKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}}}


class HttpError(Exception):
    def __init__(self, status, detail):
        super().__init__(detail)
        self.status, self.detail = status, detail


def wrong(where, name, kind, text):
    return HttpError(422, [{"type": kind, "loc": [where, name], "msg": text, "input": None}])


def check_body(model, data):
    """The fields of a body, as pydantic would take them."""
    try:
        body = json.loads(data or b"null")
    except ValueError:
        raise wrong("body", 0, "json_invalid", "JSON decode error") from None
    if not isinstance(body, dict):
        raise wrong("body", model, "model_attributes_type", "Input should be a valid dictionary")
    fields, required = MODELS[model]
    taken = {}
    for name, schema in fields.items():
        value = body.get(name)
        if value is None:
            if name in required:
                raise wrong("body", name, "missing", "Field required")
            taken[name] = schema.get("default")
            continue
        kinds = [s["type"] for s in schema.get("anyOf", [schema])]
        if isinstance(value, float) and value.is_integer() and "integer" in kinds:
            value = int(value)
        if "integer" in kinds and not (isinstance(value, int) and not isinstance(value, bool)):
            raise wrong("body", name, "int_type", "Input should be a valid integer")
        if "number" in kinds and not isinstance(value, (int, float)):
            raise wrong("body", name, "float_type", "Input should be a valid number")
        if "string" in kinds and not isinstance(value, str):
            raise wrong("body", name, "string_type", "Input should be a valid string")
        if "enum" in schema and value not in schema["enum"]:
            raise wrong("body", name, "enum", "Input should be " + " or ".join(map(repr, schema["enum"])))
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            raise wrong("body", name, "less_than_equal", f"Input should be from {schema['minimum']} to {schema['maximum']}")
        taken[name] = value
    return taken


@dataclasses.dataclass
class Sandbox:
    folder: pathlib.Path
    created: str
    status: str = "running"
    last_used: str = ""
    count: int = 0


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Sandboxes:
    """What the routes do; a folder for each user."""

    def __init__(self, root):
        self.root, self.all, self.lock = root, {}, threading.Lock()

    def get(self, user):
        with self.lock:
            if user not in self.all or self.all[user].status != "running":
                folder = pathlib.Path(self.root, user.encode().hex()[:200])
                folder.mkdir(exist_ok=True)
                self.all[user] = Sandbox(folder, now())
            self.all[user].last_used = now()
            return self.all[user]

    def run(self, user, argv, timeout, stdin=b"", count=True):
        sandbox = self.get(user)
        sandbox.count += count
        words = ["bwrap", "--unshare-all", "--new-session", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--proc", "/proc",
                 "--dev", "/dev", "--tmpfs", "/tmp", "--bind", str(sandbox.folder), "/workspace", "--chdir", "/workspace",
                 "--clearenv", "--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "HOME", "/workspace"]
        for name in ("bin", "sbin", "lib", "lib64"):
            words += ["--symlink", "usr/" + name, "/" + name]
        began = time.monotonic()
        process = subprocess.Popen([*words, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
            code, error = process.returncode, err.decode(errors="replace") or None
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            out, code, error = b"", -1, f"Execution timed out after {timeout} seconds"
        return {"success": code == 0, "output": out.decode(errors="replace"), "error": error, "exit_code": code,
                "execution_time": time.monotonic() - began}

    def info(self, user, sandbox):
        return {"user_id": user, "container_id": "plain-" + sandbox.folder.name[:12], "status": sandbox.status,
                "created_at": sandbox.created, "last_used": sandbox.last_used or sandbox.created,
                "execution_count": sandbox.count, "memory_usage_mb": 1.5, "cpu_percent": 0.0}

    # ---- one for each route ----
    def create(self, user, **_):
        return self.info(user, self.get(user))

    def execute(self, user, code, timeout, **_):
        return self.run(user, ["python3", "-c", code], timeout)

    def shell(self, user, command, timeout):
        return self.run(user, ["sh", "-c", command], timeout)

    def pip_install(self, user, package, timeout):
        return self.run(user, ["python3", "-m", "pip", "install", "--", package], timeout)

    def pip_list(self, user):
        return self.run(user, ["python3", "-m", "pip", "list"], 60)

    def list_files(self, user, path="/workspace"):
        return self.run(user, ["ls", "-la", "--", path], 30, count=False)

    def read_file(self, user, path):
        sent = "import sys, base64\nprint(base64.b64encode(open(sys.argv[1], 'rb').read()).decode())"
        done = self.run(user, ["python3", "-c", sent, path], 30, count=False)
        if not done["success"]:
            if "FileNotFoundError" in done["error"]:
                raise HttpError(404, f"File not found: {path}")
            raise HttpError(400, (done["error"] or "").strip().splitlines()[-1])
        data = base64.b64decode(done["output"])
        try:
            return {"path": path, "content": data.decode(), "encoding": "utf-8", "size": len(data)}
        except UnicodeDecodeError:
            return {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64", "size": len(data)}

    def write_file(self, user, path, content, encoding):
        try:
            data = content.encode() if encoding == "utf-8" else base64.b64decode(content, validate=True)
        except ValueError:
            raise HttpError(400, "Invalid base64 content") from None
        return self.run(user, ["sh", "-c", 'mkdir -p "$(dirname -- "$1")" && cat > "$1"', "sh", path], 30, data, count=False)

    def delete_file(self, user, path):
        return self.run(user, ["rm", "--", path], 30, count=False)

    def unzip(self, user, path, destination):
        to = destination or os.path.dirname(path) or "."
        code = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nz.extractall(sys.argv[2])\nprint(*z.namelist(), sep='\\n')"
        return self.run(user, ["python3", "-c", code, path, to], 120, count=False)

    def status(self, user):
        with self.lock:
            sandbox = self.all.get(user)
        if sandbox is None:
            raise HttpError(404, f"No sandbox found for user {user}")
        return self.info(user, sandbox)

    def stop(self, user):
        with self.lock:
            if user not in self.all:
                return {"status": "not_found"}
            self.all[user].status = "stopped"
        return {"status": "stopped"}

    def restart(self, user):
        self.stop(user)
        return self.create(user)

    def destroy(self, user, purge="false"):
        with self.lock:
            sandbox = self.all.pop(user, None)
        if purge.lower() in ("true", "1", "yes", "on"):
            shutil.rmtree(pathlib.Path(self.root, user.encode().hex()[:200]), ignore_errors=True)
        return {"status": "deleted", "files_preserved": purge.lower() != "true"} if sandbox else {"status": "not_found"}

    def health(self):
        return {"status": "healthy", "docker": True, "version": "1.0.0"}

    def info_of_service(self):
        return {"version": "1.0.0", "available": True, "docker_version": "24.0.7", "active_sandboxes": len(self.all),
                "max_sandboxes": 10, "host_info": {"os": "Linux", "arch": os.uname().machine}}


@dataclasses.dataclass
class Seen:
    method: str
    target: str
    headers: dict
    body: bytes


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, status, value, **headers):
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def note(self, data):
        self.server.owner.requests.append(Seen(self.command, self.path, dict(self.headers), data))

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def serve(self):
        data = self.body()
        self.note(data)
        try:
            self.reply(200, self.answer(data))
        except HttpError as error:
            more = {"Allow": "GET"} if error.status == 405 else {}
            self.reply(error.status, {"detail": error.detail}, **more)

    do_GET = do_POST = do_DELETE = do_PUT = serve

    def answer(self, data):
        raw, _, query = self.path.partition("?")
        path = urllib.parse.unquote(raw)
        if path == "/openapi.json":
            return openapi()
        found = [(route, match) for route in ROUTES
                 if (match := re.fullmatch(route[1].replace("{user_id}", "(?P<user>[^/]+)"), path))]
        if not found:
            raise HttpError(404, "Not Found")
        route, match = next((f for f in found if f[0][0] == self.command), (None, None))
        if not route:
            raise HttpError(405, "Method Not Allowed")
        _, path, name, model, allowed, _ = route
        key = self.server.owner.key
        if path != "/health" and key and self.headers.get("X-API-Key") != key:
            raise HttpError(401, "Invalid or missing API key")
        values = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        fields = check_body(model, data) if model else {}
        for each, required, _ in allowed:
            if each in values:
                fields[each] = values[each]
            elif required:
                raise wrong("query", each, "missing", "Field required")
        sandboxes = self.server.owner.sandboxes
        if "user" not in match.groupdict():
            return sandboxes.health() if name == "health" else sandboxes.info_of_service()
        return getattr(sandboxes, name)(match["user"], **fields)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that left


class PlainService:
    def __init__(self, key="", port=0, tls=None, handler=Handler, address="127.0.0.1"):
        self.key, self.requests = key, []
        self.folder = tempfile.mkdtemp(prefix="csb-plain-")
        self.sandboxes = Sandboxes(self.folder)
        self.server = Server((address, port), handler)
        self.server.owner = self
        self.port = self.server.server_address[1]
        if tls:  # (certificate, key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


def main():
    parser = argparse.ArgumentParser(description="a scripted peer for tests")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    arguments = parser.parse_args()
    with PlainService(arguments.key, arguments.port) as service:
        print("listening on", service.url, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
