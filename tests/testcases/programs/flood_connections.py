# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket
import stat

check = Check("a flood of connections to every socket in reach")
targets = []
for folder, _, files in os.walk("/run"):
    targets += [os.path.join(folder, f) for f in files if stat.S_ISSOCK(os.lstat(os.path.join(folder, f)).st_mode)]
held = []
for path in targets:
    for _ in range(3000):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
            s.send(b"\xff" * 64)
        except OSError:
            pass
        held.append(s)
        if len(held) > 500:
            held.pop(0).close()
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0csb-own")
listener.listen(5)
for _ in range(3000):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect("\0csb-own")
    except OSError:
        pass
    s.close()
check.count = len(targets) * 3000 + 3000
check.done()
