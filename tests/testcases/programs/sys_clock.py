# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the clock cannot be set")
# To now: harmless where it works after all.
timespec = (ctypes.c_long * 2)(int(time.time()), 0)
check.refused("settimeofday", ctypes.addressof(timespec), 0)
check.refused("clock_settime", 0, ctypes.addressof(timespec))
timex = ctypes.create_string_buffer(208)
ctypes.c_uint.from_buffer(timex).value = 0x4000  # ADJ_TICK
check.refused("adjtimex", ctypes.addressof(timex))
check.refused("clock_adjtime", 0, ctypes.addressof(timex))
before = time.time()
check.expect(before > 1.6e9, "the clock is at %f" % before)
check.done()
