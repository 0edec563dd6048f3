# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("zombies are bounded, orphaned ones are reaped")
count, why = 0, None
try:
    while count < 20000:
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)  # an orphan's end
            os._exit(0)
        count += 1
except OSError as e:
    why = e.errno
if why is None:
    check.weak("%d zombies" % count)
else:
    check.expect(why in (errno.EAGAIN, errno.ENOMEM), errno.errorcode[why])
check.count = count
check.done()
