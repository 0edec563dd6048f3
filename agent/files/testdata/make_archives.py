# SPDX-License-Identifier: Apache-2.0
"""Makes the archives of unzip_test.cc: make_archives.py FOLDER."""
import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import zipfile

os.chdir(sys.argv[1])


def tar(name, members, mode="w", fmt=tarfile.PAX_FORMAT):
    """members: (name, kind, content or target); kinds of tarfile, or a dict of TarInfo fields."""
    with tarfile.open(name, mode, format=fmt, errors="surrogateescape") as t:
        for member, kind, data in members:
            info = tarfile.TarInfo(member)
            info.type = kind
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            body = None
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = data
            elif kind == tarfile.REGTYPE:
                body = data
                info.size = len(body)
            elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                info.devmajor, info.devminor = data
            t.addfile(info, io.BytesIO(body) if body is not None else None)


def zipped(name, members):
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as z:
        for member, mode, data in members:
            info = zipfile.ZipInfo(member)
            info.external_attr = mode << 16
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, data)


F, D, S, L = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
GOOD = [("d", D, None), ("d/a.txt", F, b"alpha"), ("d/sub/b.txt", F, b"beta"), ("link", S, "d/a.txt"),
        ("d/up", S, "../d/sub/b.txt"), ("hard", L, "d/a.txt"), ("./dot/./c", F, b"gamma")]
for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
    tar("good." + suffix, GOOD, mode)
if subprocess.run(["zstd", "--version"], capture_output=True).returncode == 0:
    subprocess.run(["zstd", "-q", "-f", "good.tar", "-o", "good.tar.zst"], check=True)
zipped("good.zip", [("d/", 0o40755, b""), ("d/a.txt", 0o100644, b"alpha"), ("d/sub/b.txt", 0o100644, b"beta"),
                    ("link", 0o120777, b"d/a.txt"), ("d/run.sh", 0o104755, b"#!/bin/sh\n")])
for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
    with open("notes.txt." + suffix, "wb") as f:
        f.write(pack(b"some notes\n"))

# Names
zipped("utf8.zip", [("é/ü \U0001f600.txt", 0o100644, b"u")])
tar("utf8pax.tar", [("é/ü.txt", F, b"u")])
tar("latin.tar", [("caf\udce9.txt", F, b"u")], fmt=tarfile.GNU_FORMAT)
tar("newline.tar", [("a\nb\x1b[31m", F, b"n")])
zipped("notutf8.zip", [("é.txt", 0o100644, b"u")])
with open("notutf8.zip", "rb") as f:
    broken = f.read().replace("é".encode(), b"\xff\xfe")
with open("notutf8.zip", "wb") as f:
    f.write(broken)
tar("setid.tar", [])
with tarfile.open("setid.tar", "w") as t:
    for bits, n in ((0o4755, "suid"), (0o2755, "sgid"), (0o777, "wide"), (0o000, "none")):
        info = tarfile.TarInfo(n)
        info.mode = bits
        info.size = 1
        info.uid = info.gid = 0
        info.mtime = 1000000000
        t.addfile(info, io.BytesIO(b"x"))

# Members to refuse; each archive has a good member first, and after.
OK1, OK2 = ("fine1", F, b"1"), ("fine2", F, b"2")


def bad(name, *members):
    tar("bad-" + name + ".tar", [OK1, *members, OK2])


bad("absolute", ("/tmp/csb-planted", F, b"x"))
bad("dotdot", ("../csb-planted", F, b"x"))
bad("dotdot-middle", ("fine/../../csb-planted", F, b"x"))
bad("dotdot-dir", ("../csb-planted-dir", D, None))
bad("symlink-out", ("l", S, "../../etc"))
bad("symlink-absolute", ("l", S, "/etc"))
bad("symlink-then-through", ("l", S, "../.."), ("l/csb-planted", F, b"x"))
bad("through-inner-link", ("dir", D, None), ("l", S, "dir"), ("l/x", F, b"x"))
bad("link-chain", ("a/b/c", D, None), ("a/b/c/s", S, "../../.."), ("a/l", S, "b/c/s/../../etc"))
bad("long-chain", ("x" * 200, D, None), ("s", S, "x" * 200 + "/.."), ("s/../../csb-planted", F, b"x"))
bad("hardlink-out", ("h", L, "/etc/passwd"))
bad("hardlink-dotdot", ("h", L, "../../../etc/passwd"))
bad("hardlink-existing", ("h", L, "was-there"))
bad("hardlink-symlink", ("s", S, "fine1"), ("h", L, "s"))
bad("char", ("null", tarfile.CHRTYPE, (1, 3)))
bad("block", ("disk", tarfile.BLKTYPE, (8, 0)))
bad("fifo", ("pipe", tarfile.FIFOTYPE, None))
bad("deep", ("/".join(["d"] * 100)[0:] + "/x", F, b"x"))
bad("long-name", ("n" * 300, F, b"x"))
bad("over-folder", ("dir/x", F, b"x"), ("dir", F, b"y"))
bad("under-file", ("fine1/x", F, b"x"))
bad("staging", (".csb-unzip-1/x", F, b"x"))
bad("many", *[("../csb-planted%d" % i, F, b"x") for i in range(1500)])
zipped("bad-zip-absolute.zip", [("ok", 0o100644, b"1"), ("/tmp/csb-planted", 0o100644, b"x")])
zipped("bad-zip-dotdot.zip", [("ok", 0o100644, b"1"), ("../csb-planted", 0o100644, b"x")])
zipped("bad-zip-symlink.zip", [("l", 0o120777, b"/etc"), ("l/csb-planted", 0o100644, b"x")])
zipped("bad-zip-device.zip", [("dev", 0o20666, b"")])
# A file replaces a link of the same name; it must never be written through it.
tar("replace-link.tar", [("victim", F, b"old"), ("l", S, "victim"), ("l", F, b"new")])

# Bombs, damage, encryption
zipped("bomb.zip", [("zeros%d" % i, 0o100644, bytes(8 << 20)) for i in range(4)])
with open("bomb.gz", "wb") as f:
    f.write(gzip.compress(bytes(32 << 20)))
tar("many.tar", [("f%d" % i, F, b"") for i in range(500)])
tar("manydirs.tar", [("/".join("%d" % (i * 60 + j) for j in range(60)) + "/f", F, b"") for i in range(5)])
# Declares 10 bytes, has 8 MiB: sizes are bounded as they unpack.
with open("bomb.zip", "rb") as f:
    data = bytearray(f.read())
at = data.find(b"PK\1\2")
while at >= 0:
    struct.pack_into("<I", data, at + 24, 10)
    at = data.find(b"PK\1\2", at + 4)
with open("liar.zip", "wb") as f:
    f.write(data)
with open("good.tar.gz", "rb") as f:
    whole = f.read()
with open("cut.tar.gz", "wb") as f:
    f.write(whole[: len(whole) // 2])
with open("good.zip", "rb") as f:
    whole = f.read()
with open("cut.zip", "wb") as f:
    f.write(whole[:-40])
with open("crc.zip", "wb") as f:
    zipped("crc0.zip", [("a", 0o100644, os.urandom(5000))])
    with open("crc0.zip", "rb") as g:
        data = bytearray(g.read())
    data[1000] ^= 0xFF
    f.write(data)
with open("text.zip", "w") as f:
    f.write("this is no archive\n" * 100)
open("empty.zip", "w").close()
zipfile.ZipFile("none.zip", "w").close()
with open("encrypted.zip", "wb") as f:
    zipped("plain0.zip", [("secret.txt", 0o100644, b"s" * 100)])
    with open("plain0.zip", "rb") as g:
        data = bytearray(g.read())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(magic)
        data[at + offset] |= 1
    f.write(data)
# A sparse file that claims 1 TiB (GNU, old style): one data block, a hole to the end.
header = bytearray(512)
header[0:6] = b"sparse"
header[100:108] = b"0000644\0"
header[108:124] = b"0000000\0" * 2
header[124:136] = b"%011o\0" % 512
header[136:148] = b"%011o\0" % 0
header[156] = ord("S")
header[257:265] = b"ustar  \0"
header[386:410] = b"%011o\0%011o\0" % (0, 512)
header[483:495] = struct.pack(">I", 0x80000000) + struct.pack(">Q", 1 << 40)
header[148:156] = b" " * 8
header[148:156] = b"%06o\0 " % sum(header)
with open("sparse.tar", "wb") as f:
    f.write(bytes(header) + b"x" * 512 + bytes(1024))
