# SPDX-License-Identifier: Apache-2.0
#
# Keeps an interpreter at the point where it would open its program, and forks it for each run.
#
# The interpreter finds this file as `sitecustomize`, which site imports last, after all start-up and before
# the program's file is opened. Each fork returns from here and goes on as any interpreter does: it opens the
# file of that name, which by then holds the code of this run. So nothing of a run has to be imitated.
#
# agent/python/warm_interpreter.h is the other side, a supervisor. Descriptor 1 is a socket for orders: `n` asks
# for a fork ahead. The fork says `born` on the other socket, descriptor 0, by which the kernel tells its number;
# on `g` the process between ends, so that the supervisor, the nearest subreaper, becomes the fork's parent,
# and `f` says so. It says `ready` once it waits. Then a request comes on descriptor 0: NUL-separated texts, the
# folder to start in, the number of arguments, they, then the environment; with stdin, stdout and stderr. The
# answer is `ok`, `stale` or `cwd ERRNO`.
#
# Only modules that every interpreter has loaded by now are imported here; others are taken out of sys.modules
# again: what the code imports must be what it would be in a fresh interpreter.


def _library(os, sys):
    """The C library's madvise and prctl; None of a Python that was built without ctypes."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        library.madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
        library.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
        return library
    except Exception:
        return None


def _copy(library):
    """Copies the pages shared with the parent at once, while nobody waits, and not one fault at a time later."""
    populate_write = 23  # MADV_POPULATE_WRITE of Linux 5.14; older ones refuse it, which costs time only
    most = 32 << 20  # with large modules loaded ahead the copies would cost more memory than they save time
    ranges = []
    with open("/proc/self/maps", "rb", 0) as maps:
        for line in maps.read(1 << 20).splitlines():
            words = line.split()
            if len(words) < 5 or words[1] != b"rw-p" or words[-1] == b"[stack]":
                continue
            first, last = (int(word, 16) for word in words[0].split(b"-"))
            ranges.append((first, last - first))
    if sum(size for _, size in ranges) <= most:
        for first, size in ranges:
            library.madvise(first, size, populate_write)


def _serve():
    import gc
    import os
    import sys

    if sys.version_info < (3, 8) or not hasattr(gc, "freeze"):
        os._exit(0)
    folder = os.path.dirname(__file__)
    cached = globals().get("__cached__")
    for path in (__file__, cached):
        try:
            os.unlink(path)
        except (OSError, TypeError):
            pass
    try:
        os.rmdir(os.path.dirname(cached))
    except (OSError, TypeError):
        pass
    preload = os.environ.pop("CLARA_PRELOAD", "")
    # The entries that came of PYTHONPATH, this folder alone, stand first.
    start = next((i + 1 for i, entry in enumerate(sys.path) if entry == folder), 0)
    user_site = getattr(sys.modules["site"], "USER_SITE", None)

    def marks():
        """Changes when packages are installed or removed, at which start-up has looked (.pth files)."""
        found = []
        for entry in sys.path[start:] + ([user_site] if user_site else []):
            try:
                status = os.stat(entry)
                found.append((entry, status.st_mtime_ns, status.st_ino))
            except OSError:
                found.append((entry, None, None))
        return found

    known = marks()
    for name in preload.split(","):
        try:
            if name.strip():
                __import__(name.strip())
        except Exception:  # not there, or broken: the code that imports it will be told
            pass
    before = set(sys.modules)
    import _socket

    library = _library(os, sys)
    for name in set(sys.modules) - before:
        del sys.modules[name]
    if library is not None:
        library.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: other code of the user does not reach in here
    control = _socket.socket(fileno=os.dup(0))
    orders = _socket.socket(fileno=os.dup(1))
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page

    while True:
        try:
            if orders.recv(1) != b"n":
                os._exit(0)
            between = os.fork()
            if between == 0:
                if os.fork() == 0:
                    break
                orders.recv(1)
                os._exit(0)
            os.waitpid(between, 0)
            orders.send(b"f")
        except OSError:
            os._exit(0)

    fds = []
    try:
        control.send(b"born")
        orders.close()
        os.setsid()
        if library is not None:
            try:
                _copy(library)
            except OSError:  # no /proc
                pass
        control.send(b"ready")
        data, passed, _, _ = control.recvmsg(1 << 18, _socket.CMSG_SPACE(12))
        for level, kind, numbers in passed:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds += [int.from_bytes(numbers[i : i + 4], sys.byteorder) for i in range(0, len(numbers) - 3, 4)]
        if not data or len(fds) != 3:
            os._exit(0)
        if marks() != known:
            control.send(b"stale")
            os._exit(0)
        words = data.split(b"\0")
        try:
            os.chdir(words[0])
        except OSError as error:
            control.send(b"cwd %d" % error.errno)
            os._exit(0)
    except OSError:
        os._exit(0)
    for i, fd in enumerate(fds):
        os.dup2(fd, i)
        os.close(fd)
    count = int(words[1])
    arguments = [os.fsdecode(word) for word in words[2 : 2 + count]]
    zone = os.environ.get("TZ")
    os.environ.clear()
    for word in words[2 + count :]:
        name, equals, value = word.partition(b"=")
        if equals:
            os.environb[name] = value
    if os.environ.get("TZ") != zone:
        import time

        time.tzset()
    # As site does it: absolute, each once.
    entries = []
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        entry = os.path.abspath(entry)
        if entry not in entries:
            entries.append(entry)
    sys.path[:start] = [entry for entry in entries if entry not in sys.path[start:]]
    sys.argv[1:] = arguments
    if hasattr(sys, "orig_argv"):
        sys.orig_argv += arguments
    # A folder's list of files is read again when its time changes, which is too coarse for a file just written.
    for entry in list(sys.path_importer_cache):
        if not entry.startswith(sys.base_prefix + "/lib"):
            del sys.path_importer_cache[entry]
    # What was frozen is never collected, nor what it refers to. The module of the code is to be, at the end.
    main = type(sys)("__main__")
    main.__dict__.update(sys.modules["__main__"].__dict__)
    sys.modules["__main__"] = main
    # random seeds itself anew in a fork.
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(int.from_bytes(os.urandom(8), "little"))
    if library is not None:
        library.prctl(4, 1, 0, 0, 0)
    try:
        control.send(b"ok")
    except OSError:
        os._exit(0)
    control.close()


_serve()
del _serve, _copy, _library

# The one that this file stood in front of, if there is any. The search must not find this one's entry.
import sys

del sys.modules["sitecustomize"], sys
import sitecustomize
