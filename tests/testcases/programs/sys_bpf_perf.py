# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("bpf, perf, userfaultfd, fanotify")
attr = ctypes.create_string_buffer(128)
check.refused("bpf", 0, ctypes.addressof(attr), 48)
check.refused("bpf", 9999, 0, 0)
check.refused("perf_event_open", ctypes.addressof(attr), 0, -1, -1, 0)
check.refused("perf_event_open", 0, 0, -1, -1, 0)
check.refused("userfaultfd", 0)
check.refused("userfaultfd", 1)
check.refused("userfaultfd", 0xFFFF)
check.refused("fanotify_init", 0, 0)
check.refused("lookup_dcookie", 0, 0, 0)
check.done()
