# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("descriptors are bounded")
fds, why = [], None
try:
    while len(fds) < 3000000:
        fds.append(os.open("/dev/null", os.O_RDONLY))
except OSError as e:
    why = e.errno
for fd in fds:
    os.close(fd)
if why is None:
    check.weak("%d descriptors" % len(fds))
else:
    check.expect(why in (errno.EMFILE, errno.ENFILE), errno.errorcode[why])
check.count = len(fds)
check.done()
