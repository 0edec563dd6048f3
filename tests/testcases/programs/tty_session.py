# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("own session, no controlling terminal")
check.expect(os.getsid(0) != 0, "the session is one outside")
try:
    os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    check.escaped("there is a controlling terminal")
except OSError:
    pass
for fd in (0, 1, 2):
    check.expect(not os.isatty(fd), "fd %d is a terminal" % fd)
fields = read_text("/proc/self/stat").rsplit(")", 1)[1].split()
check.expect(fields[4] == "0", "tty_nr is " + fields[4])
check.done()
