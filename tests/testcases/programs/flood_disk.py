# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the workspace is bounded")
path, block, total = "/workspace/csb-flood", os.urandom(1 << 20), 0
bound = 1536  # MiB; the runner asks for far less
why = None
try:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    while total < bound:
        if os.write(fd, block) < len(block):
            continue
        total += 1
except OSError as e:
    why = e.errno
finally:
    os.close(fd)
    os.unlink(path)
if why is None:
    check.weak("wrote %d MiB without an end" % total)
else:
    check.expect(why in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "ended with " + errno.errorcode[why])
check.done()
