# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("sparse files and preallocation do not get past the disk's bound")
path = "/workspace/csb-sparse"
fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
try:
    os.posix_fallocate(fd, 0, 8 << 30)
    check.weak("8 GiB could be reserved")
except OSError as e:
    check.expect(e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EOPNOTSUPP), errno.errorcode[e.errno])
os.close(fd)
os.unlink(path)
check.done()
