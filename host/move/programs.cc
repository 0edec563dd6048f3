// SPDX-License-Identifier: Apache-2.0
//
// A scan prints a line for each thing in the tree, folders before what is in them, names in the order of
// their bytes. Names are bytes that stand as characters U+0000 to U+00FF, so that any name is valid JSON.
//
//   {"t":"d","p":"notes","m":493,"n":1700000000000000000}           folder: mode, mtime
//   {"t":"f","p":"notes/a","m":420,"n":…,"s":5,"b":1,"e":1,         file: first and last line of it
//    "x":[[ID,OFFSET,LENGTH,"SHA256",FROM,FROM_OFFSET]]}            pieces; FROM null: the file itself
//   {"t":"h","p":"notes/b","l":"notes/a"}                           one more name of a file
//   {"t":"l","p":"c","l":"notes/a","n":…}                           symbolic link
//   {"t":"p","p":"d","m":420,"n":…}                                 FIFO
//   {"t":"z","next":…,"chain":…,"tree":…,"seq":…,…}                 the last line
//
// Holes of sparse files are no pieces. A piece lies at STAGE/in/ID in the target until it is placed. Files
// that cannot be asked for by name (not UTF-8, behind a closed folder, unreadable to their owner) are linked
// or copied to STAGE/src/ID in the source. Folders and files whose permissions keep their owner out are
// opened for the moment of reading. STAGE/opened lists them, [[NAME, MODE], …]: a program that was killed
// meanwhile cannot close them, so that the next one does.
//
// User code may have left modules in the workspace: none of them is imported.
//
// Exit codes: 3 an error, 4 a conflict, 28 (ENOSPC) the disk is full; the last line of stderr says what.
#include "host/move/programs.h"

#include "clara_sandbox/cpp/json.h"

namespace csb::host {
namespace {

constexpr char kPrelude[] = R"py(import sys
sys.path[:] = [p for p in sys.path if p and not p.startswith("/workspace")]
import errno, hashlib, json, os, shutil, stat, time
ROOT = b"/workspace"
NAME = b".clara-sandbox-move"
STAGE = ROOT + b"/" + NAME
PIECE = 8 << 20
def die(text, code=3):
    sys.stderr.write("\n" + text + "\n")
    sys.stderr.flush()
    os._exit(code)
def show(path):
    return ascii(os.fsdecode(path))[1:-1]
def text(b):
    return b.decode("latin-1")
def raw(t):
    b = t.encode("latin-1")
    if b.startswith(b"/") or b".." in b.split(b"/") or b"\0" in b:
        die("a path that leads out of the workspace: " + show(b))
    return b
def read(fd, length, offset):
    parts = []
    while length > 0:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        length -= len(part)
        offset += len(part)
    return b"".join(parts)
def write(fd, data, offset):
    view = memoryview(data)
    while view:
        n = os.pwrite(fd, view, offset)
        view = view[n:]
        offset += n
def sha(data):
    return hashlib.sha256(data).hexdigest()
def remove(path):
    try:
        st = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(st.st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
OPENED = STAGE + b"/opened"
opened = []
def mark():
    try:
        if not opened:
            for path in (OPENED, OPENED + b".new"):
                if os.path.lexists(path):
                    os.unlink(path)
            os.rmdir(STAGE)  # if there is nothing else in it
            return
        if not os.path.isdir(STAGE):
            os.mkdir(STAGE, 0o700)
        with open(OPENED + b".new", "w") as f:
            json.dump(opened, f)
        os.replace(OPENED + b".new", OPENED)
    except OSError:  # a full disk: then a kill in this moment leaves it open
        pass
def open_up(path, rel, mode, more):
    opened.append([text(rel), mode])
    mark()
    os.chmod(path, mode | more)
def close_up(path):
    os.chmod(path, opened[-1][1])
    opened.pop()
    mark()
def close_left():
    try:
        if not stat.S_ISREG(os.lstat(OPENED).st_mode):
            return
        with open(OPENED) as f:
            left = [(ROOT + b"/" + name.encode("latin-1"), mode & 0o7777) for name, mode in json.load(f)]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # the user's own, then
        return
    for path, mode in reversed(left):
        try:
            if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFDIR, stat.S_IFREG):
                os.chmod(path, mode)
        except (OSError, ValueError):  # the user did something about it
            pass
    mark()
def guarded(main):
    try:
        main()
        sys.stdout.flush()
    except OSError as e:
        names = [show(n if isinstance(n, bytes) else os.fsencode(n)) for n in (e.filename, e.filename2) if n is not None]
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        die(": ".join(names[:1] + [os.strerror(e.errno) if e.errno else str(e)]), 28 if full else 3)
)py";

constexpr char kBegin[] = R"py(
def main():
    remove(STAGE)
    for folder, folders, files in os.walk(ROOT):
        links = [f for f in folders if os.path.islink(folder + b"/" + f)]
        if files or links:
            die("there are files already, as " + show(os.path.join(folder, (files + links)[0])), 4)
    os.mkdir(STAGE, 0o700)
    os.mkdir(STAGE + b"/in", 0o700)
guarded(main)
)py";

constexpr char kScan[] = R"py(
sys.setrecursionlimit(20000)
ME = os.geteuid()
TEXT, DATA, TIME = 256 << 10, 128 << 20, 20
out, size, data, started = [], 0, 0, time.monotonic()
entries = files = skipped = 0
chain, tree, seq = P["chain"], P["tree"], P["seq"]
contents = P["contents"]
links = {}
LINKS = STAGE + b"/links"
class Full(Exception):
    pass
def full():
    return size >= TEXT or data >= DATA or time.monotonic() - started >= TIME
def emit(entry):
    global size
    if contents:
        line = json.dumps(entry, separators=(",", ":"))
        size += len(line) + 1
        out.append(line)
def note(kind, rel, st, extra=""):
    global chain, tree, entries
    entries += 1
    what = [kind, text(rel), 0 if kind == "l" else st.st_mode & 0o777, st.st_size if kind == "f" else 0, extra]
    tree = sha((tree + json.dumps(what)).encode())
    chain = sha((chain + json.dumps(what + [st.st_mtime_ns, st.st_mode])).encode())
def stage():
    for path in (STAGE, STAGE + b"/src"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
def remember(st, rel):
    links[str(st.st_dev) + ":" + str(st.st_ino)] = text(rel)
    try:
        stage()
        with open(LINKS, "w") as f:
            json.dump(links, f)
    except OSError:  # the names become files of their own then
        pass
def open_file(path, rel, st):
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags), False
    except PermissionError:
        if st.st_uid != ME:
            die(show(path) + ": belongs to somebody else and cannot be read")
        open_up(path, rel, stat.S_IMODE(st.st_mode), 0o400)
        try:
            return os.open(path, flags), True
        finally:
            close_up(path)
def ranges(fd, st):
    end = st.st_size
    if st.st_blocks * 512 >= end:
        found = [(0, end)] if end else []
    else:
        found, at = [], 0
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    found, at = [(0, end)], end
                break
            until = min(os.lseek(fd, at, os.SEEK_HOLE), end)
            if found and at - found[-1][1] < 1 << 20:
                found[-1] = (found[-1][0], until)
            else:
                found.append((at, until))
            at = until
    for begin, until in found:
        while begin < until:
            step = min(PIECE, until - begin)
            yield begin, step
            begin += step
def carry(path, rel, st, offset, closed):
    global seq, data
    fd, copied = open_file(path, rel, st)
    linked = None
    try:
        try:
            direct = not closed and not copied and path.decode("utf-8") != "" and len(path) <= 4000
        except UnicodeDecodeError:
            direct = False
        base = {"t": "f", "p": text(rel), "m": stat.S_IMODE(st.st_mode), "n": st.st_mtime_ns, "s": st.st_size}
        first, pieces = offset == 0, []
        for begin, length in ranges(fd, st):
            if begin < offset:
                continue
            if pieces and full():
                emit(dict(base, b=int(first), e=0, x=pieces))
                raise Full(begin)
            block = read(fd, length, begin)
            if len(block) != length:
                die(show(path) + ": changed while it was moved", 4)
            source, at = None, begin
            if not direct and not copied and linked is None:
                stage()
                try:
                    os.link(path, STAGE + b"/src/" + str(seq).encode(), follow_symlinks=False)
                    linked = seq
                    seq += 1
                except OSError:
                    copied = True
            if copied:
                stage()
                source, at = seq, 0
                with open(STAGE + b"/src/" + str(seq).encode(), "wb") as f:
                    f.write(block)
            elif linked is not None:
                source = linked
            pieces.append([seq, begin, length, sha(block), source, at])
            seq += 1
            data += length
        emit(dict(base, b=int(first), e=1, x=pieces))
    finally:
        os.close(fd)
def visit(path, rel, st, offset, closed):
    global files, skipped
    kind = stat.S_IFMT(st.st_mode)
    both = {"p": text(rel), "m": stat.S_IMODE(st.st_mode), "n": st.st_mtime_ns}
    if kind == stat.S_IFREG:
        key = str(st.st_dev) + ":" + str(st.st_ino)
        if contents:
            if st.st_nlink > 1 and links.get(key, text(rel)) != text(rel):
                emit({"t": "h", "p": text(rel), "l": links[key]})
            else:
                if st.st_nlink > 1 and offset == 0:
                    remember(st, rel)
                carry(path, rel, st, offset, closed)
        files += 1
        note("f", rel, st)
    elif kind == stat.S_IFDIR:
        note("d", rel, st)
        emit(dict(both, t="d"))
    elif kind == stat.S_IFLNK:
        target = text(os.readlink(path))
        note("l", rel, st, target)
        emit(dict(both, t="l", l=target))
    elif kind == stat.S_IFIFO:
        note("p", rel, st)
        emit(dict(both, t="p"))
    else:
        skipped += 1
def walk(path, rel, after, offset, closed):
    for name in sorted(os.listdir(path)):
        if not rel and name == NAME:
            continue
        inner, resume, skip = None, 0, False
        if after:
            if name < after[0]:
                continue
            if name == after[0]:
                inner, skip = after[1:], len(after) > 1 or offset == 0
                resume = offset
            after = None
        below, here = path + b"/" + name, (rel + b"/" if rel else b"") + name
        st = os.lstat(below)
        if not skip:
            try:
                visit(below, here, st, resume, closed)
            except Full as e:
                raise Full((here, e.args[0]))
        if not skip and full():
            raise Full((here, 0))
        if stat.S_ISDIR(st.st_mode):
            mode = stat.S_IMODE(st.st_mode)
            shut = mode & 0o700 != 0o700 and ME != 0 and st.st_uid == ME
            if shut:
                open_up(below, here, mode, 0o700)
            try:
                walk(below, here, inner, resume if inner else 0, closed or shut)
            finally:
                if shut:
                    close_up(below)
def main():
    following = None
    close_left()
    if contents:
        remove(STAGE + b"/src")
        try:
            with open(LINKS) as f:
                links.update(json.load(f))
        except FileNotFoundError:
            pass
        if P["next"] is None:
            remove(STAGE)
            links.clear()
    after, offset = None, 0
    if P["next"] is not None:
        after, offset = [n.encode("latin-1") for n in P["next"][0].split("/")], P["next"][1]
    try:
        walk(ROOT, b"", after, offset, False)
    except Full as e:
        following = [text(e.args[0][0]), e.args[0][1]]
    out.append(json.dumps({"t": "z", "next": following, "chain": chain, "tree": tree, "seq": seq, "entries": entries,
                           "files": files, "bytes": data, "skipped": skipped}))
    sys.stdout.write("\n".join(out) + "\n")
guarded(main)
)py";

constexpr char kPlace[] = R"py(
IN, PARTIAL = STAGE + b"/in/", STAGE + b"/partial"
def check(fd, offset, length, digest, path):
    if sha(read(fd, length, offset)) != digest:
        die(show(path) + ": what arrived is not what was sent", 4)
def settle(path, e):
    os.chmod(path, e["m"])
    os.utime(path, ns=(e["n"], e["n"]))
def put_file(path, e):
    x = e["x"]
    if e["b"] and e["e"] and len(x) == 1 and x[0][1] == 0 and x[0][2] == e["s"]:
        came = IN + str(int(x[0][0])).encode()
        fd = os.open(came, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if os.fstat(fd).st_size != e["s"]:
                die(show(path) + ": what arrived is not as long as what was sent", 4)
            check(fd, 0, e["s"], x[0][3], path)
        finally:
            os.close(fd)
        os.rename(came, path)
        return settle(path, e)
    fd = os.open(PARTIAL, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if e["b"] else 0), 0o600)
    try:
        for number, offset, length, digest, _, _ in x:
            came = IN + str(int(number)).encode()
            with open(came, "rb") as f:
                block = f.read(length + 1)
            if len(block) != length:
                die(show(path) + ": what arrived is not as long as what was sent", 4)
            write(fd, block, offset)
            os.unlink(came)
            check(fd, offset, length, digest, path)
        if e["e"]:
            os.ftruncate(fd, e["s"])
    finally:
        os.close(fd)
    if e["e"]:
        os.rename(PARTIAL, path)
        settle(path, e)
def main():
    folders = []
    for line in P.splitlines():
        e = json.loads(line)
        path = ROOT + b"/" + raw(e["p"])
        kind = e["t"]
        if kind == "f":
            put_file(path, e)
        elif kind == "d":
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    raise
            folders.append(line)
        elif kind == "h":
            os.link(ROOT + b"/" + raw(e["l"]), path, follow_symlinks=False)
        elif kind == "l":
            os.symlink(e["l"].encode("latin-1"), path)
            os.utime(path, ns=(e["n"], e["n"]), follow_symlinks=False)
        elif kind == "p":
            os.mkfifo(path)
            settle(path, e)
    if folders:
        with open(STAGE + b"/folders", "a") as f:
            f.write("\n".join(folders) + "\n")
guarded(main)
)py";

constexpr char kFinish[] = R"py(
def main():
    folders = []
    try:
        with open(STAGE + b"/folders") as f:
            folders = [json.loads(line) for line in f]
    except FileNotFoundError:
        pass
    remove(STAGE)
    for e in reversed(folders):
        path = ROOT + b"/" + raw(e["p"])
        os.utime(path, ns=(e["n"], e["n"]))
        os.chmod(path, e["m"])
    try:
        os.sync()
    except OSError:
        pass
guarded(main)
)py";

constexpr char kClean[] = R"py(
def main():
    close_left()
    remove(STAGE)
guarded(main)
)py";

// As a literal of Python: what JSON escapes in ASCII text, Python reads alike.
std::string Literal(std::string_view text) {
  json::Buffer buffer;
  json::Writer w(buffer);
  json::String(w, text);
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

std::string BeginProgram() { return std::string(kPrelude) + kBegin; }

std::string ScanProgram(const ScanParams& params) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "contents", params.contents);
  json::Key(w, "next");
  w.RawValue(params.next.data(), params.next.size(), rapidjson::kArrayType);
  json::Member(w, "chain", std::string_view(params.chain));
  json::Member(w, "tree", std::string_view(params.tree));
  json::Member(w, "seq", params.sequence);
  w.EndObject();
  return std::string(kPrelude) + "P = json.loads(" + Literal({buffer.GetString(), buffer.GetSize()}) + ")" +
         kScan;
}

std::string PlaceProgram(std::string_view lines) {
  return std::string(kPrelude) + "P = " + Literal(lines) + kPlace;
}

std::string FinishProgram() { return std::string(kPrelude) + kFinish; }
std::string CleanProgram() { return std::string(kPrelude) + kClean; }

}  // namespace csb::host
