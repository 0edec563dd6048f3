# SPDX-License-Identifier: Apache-2.0
from probe import *
import shutil

check = Check("files without content are bounded")
folder, count, why = "/workspace/csb-inodes", 0, None
os.mkdir(folder)
try:
    while count < 400000:
        if count % 1000 == 0:
            os.mkdir("%s/%d" % (folder, count // 1000))
        os.close(os.open("%s/%d/%d" % (folder, count // 1000, count), os.O_CREAT | os.O_WRONLY, 0o600))
        count += 1
except OSError as e:
    why = e.errno
shutil.rmtree(folder)
if why is None:
    check.weak("made %d files" % count)
else:
    check.expect(why in (errno.ENOSPC, errno.EDQUOT), errno.errorcode[why])
check.done()
