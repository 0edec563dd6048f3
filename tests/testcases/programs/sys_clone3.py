# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("clone3 answers ENOSYS, so that libraries fall back to the clone that is filtered")
args = (ctypes.c_uint64 * 11)()
args[4] = 17
check.refused("clone3", ctypes.addressof(args), 88, exactly=(errno.ENOSYS,))
args[0] = 0x10000000
check.refused("clone3", ctypes.addressof(args), 88, exactly=(errno.ENOSYS,), label="clone3 with a user namespace")
check.refused("clone3", 0, 0, exactly=(errno.ENOSYS,), label="clone3 of nothing")
import threading
done = []
thread = threading.Thread(target=lambda: done.append(1))
thread.start()
thread.join()
check.expect(done == [1], "threads do not work")
check.done()
