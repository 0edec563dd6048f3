
# An interpreter that keeps its state from one execution to the next; agent/python/context.h is the other side.
#
# Descriptor 0 is a socket. A request: one byte, with two descriptors, the execution's stdin and a file: four
# bytes of length, most significant first, a JSON object {"number":N,"results":bool,"cwd"?,"env"?}, the code.
# Answers are lines of JSON: {"result":…} for each thing that is shown, then
# {"done":{"exit_code":N,"memory":bytes}}. What the code prints goes to descriptors 1 and 2 as it comes.

import ast
import linecache
import signal
import socket
import traceback

_SERVER = __file__


class Server:
    def __init__(self):
        self._control = socket.socket(fileno=os.dup(0))
        self._owner = os.getpid()
        self._running = False
        self._flags = getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)  # since 3.8
        self._event_loop = None
        self._results = Results(self._send)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        # The module of the code is a new one; this program's own stays behind.
        self._module = types.ModuleType("__main__")
        self._module.__builtins__ = builtins
        sys.modules["__main__"] = self._module
        sys.argv = [""]
        sys.path[0] = ""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # somebody may watch
        signal.signal(signal.SIGINT, self._interrupt)
        install(self._results)

    def serve(self):
        while True:
            try:
                self._execute(*self._receive())
            except KeyboardInterrupt:  # came when the execution was over
                continue

    def _interrupt(self, number, frame):
        if self._running:
            raise KeyboardInterrupt

    def _send(self, text):
        self._control.sendall(text.encode() + b"\n")

    def _receive(self):
        byte, passed, _, _ = self._control.recvmsg(1, socket.CMSG_SPACE(8))
        fds = []
        for level, kind, numbers in passed:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += [int.from_bytes(numbers[i : i + 4], sys.byteorder) for i in range(0, len(numbers) - 3, 4)]
        if not byte or len(fds) != 2:
            os._exit(0)
        with open(fds[1], "rb") as file:
            file.seek(0)
            size = int.from_bytes(file.read(4), "big")
            request = json.loads(file.read(size))
            code = file.read().decode("utf-8", "surrogateescape")
        os.dup2(fds[0], 0)
        os.close(fds[0])
        return request, code

    def _execute(self, request, code):
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
        self._results.reset(bool(request.get("results")))
        exit_code = 1
        self._running = True
        try:
            try:
                if request.get("cwd"):
                    os.chdir(request["cwd"])
                os.environ.update(request.get("env") or {})
                exit_code = self._run(code, "<execution %d>" % request["number"])
                show_figures(self._results)
            finally:
                self._running = False
        except KeyboardInterrupt:  # between the code's end and here
            print("KeyboardInterrupt", file=sys.stderr)
        except OSError as error:
            print("%s" % error, file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # closed by the code, or taken away
                pass
        if os.getpid() != self._owner:  # a fork that the code made and let run on
            os._exit(exit_code)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._send(json.dumps({"done": {"exit_code": exit_code & 255, "memory": _memory()}}))

    def _run(self, code, name):
        """The exit code."""
        lines = code.splitlines(True)
        # Read by traceback and inspect; an entry without a time is never checked against a file.
        linecache.cache[name] = (len(code), None, lines, name)
        try:
            tree = compile(code, name, "exec", self._flags | ast.PyCF_ONLY_AST, True)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            if tree.body:
                self._evaluate(compile(tree, name, "exec", self._flags, True))
            if last is not None:
                value = self._evaluate(compile(ast.Expression(last.value), name, "eval", self._flags, True))
                if value is not None and not code.rstrip().endswith(";"):
                    builtins._ = value
                    self._results.show("value", value)
        except SystemExit as end:
            return self._exit(end)
        except BaseException as error:
            self._show(error)
            return 1
        return 0

    def _evaluate(self, code):
        import __future__

        for feature in __future__.all_feature_names:
            self._flags |= code.co_flags & getattr(__future__, feature).compiler_flag
        value = eval(code, self._module.__dict__)
        if not code.co_flags & 0x80:  # CO_COROUTINE: it awaits outside of any function
            return value
        import asyncio

        if self._event_loop is None:
            self._event_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._event_loop)
        return self._event_loop.run_until_complete(value)

    def _exit(self, end):
        if end.code is None:
            return 0
        if isinstance(end.code, int):
            return int(end.code)
        print(end.code, file=sys.stderr)
        return 1

    def _show(self, error):
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == _SERVER:
            trace = trace.tb_next
        error.__traceback__ = trace
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        try:
            if sys.excepthook is not sys.__excepthook__:
                sys.excepthook(type(error), error, trace)
            else:
                traceback.print_exception(type(error), error, trace)
        except Exception:  # of the code's own hook, or a str() that fails
            print("%s (its text can't be shown)" % type(error).__name__, file=sys.stderr)


def _memory():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


Server().serve()
