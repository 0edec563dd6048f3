# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket
import stat
import struct

check = Check("the agent's control folder can neither be changed nor used by user code")
folders, sockets = [], []
for base in ("/run/clara", "/run/control", "/run"):
    for folder, dirs, files in os.walk(base):
        folders.append(folder)
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                sockets.append(path)
            check.fails("unlink of " + path, lambda: os.unlink(path))
            check.fails("rename of " + path, lambda: os.rename(path, path + "-csb"))
            check.fails("chmod of " + path, lambda: os.chmod(path, 0o777))
for folder in sorted(set(folders)):
    if os.path.realpath(folder).startswith("/run/user"):
        continue
    if HOST["image"] and folder != "/run" and not folder.startswith("/run/clara"):
        continue  # the image's own: /run/lock is everybody's
    path = folder + "/csb-planted.sock"
    s = socket.socket(socket.AF_UNIX)
    check.fails("a socket in " + folder, lambda: s.bind(path))
    check.fails("a file in " + folder, lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)))
    check.fails("a link in " + folder, lambda: os.symlink("/etc", path))
    s.close()
# The host takes the sandbox's init only: whoever else connects is not welcomed.
hello = b'{"proto":1,"agent":"0.1.0","boot_id":"00","uptime_ms":1,"separate_uids":true,"running":0}'
for path in sorted(set(sockets)):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(3)
    try:
        s.connect(path)
        s.sendall(struct.pack("<IBBHI", len(hello), 1, 0, 0, 0) + hello)
        answer = s.recv(64)
    except OSError:
        answer = b""
    s.close()
    check.expect(answer == b"", "the host welcomed user code on " + path)
check.expect(True, "")
check.done()
