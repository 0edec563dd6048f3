# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("processes are bounded")
children, why = [], None
try:
    while len(children) < 20000:
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        children.append(pid)
except OSError as e:
    why = e.errno
if why is None:
    check.weak("%d processes started" % len(children))
else:
    check.expect(why in (errno.EAGAIN, errno.ENOMEM), errno.errorcode[why])
check.count = len(children)
check.done()  # the children stay: ending them is the sandbox's work
