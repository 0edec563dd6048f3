# SPDX-License-Identifier: Apache-2.0
from probe import *
import fcntl

check = Check("nothing can be typed into a terminal (TIOCSTI, TIOCLINUX)")
char = ctypes.create_string_buffer(b"x")
fds = [0, 1, 2]
try:
    controller, terminal = os.openpty()
    fds += [controller, terminal]
except OSError:
    pass
for fd in fds:
    for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C)):
        check.refused("ioctl", fd, request, ctypes.addressof(char), label="%s on %d" % (name, fd))
check.done()
