# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("other processes cannot be traced or read")
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
buffer = ctypes.create_string_buffer(8)
iovec = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
for pid in ancestors() + [1]:
    check.refused("ptrace", PTRACE_SEIZE, pid, 0, 0, label="seize of %d" % pid)
    check.refused("ptrace", PTRACE_ATTACH, pid, 0, 0, label="attach to %d" % pid)
    check.refused("process_vm_readv", pid, ctypes.addressof(iovec), 1, ctypes.addressof(iovec), 1, 0, label="readv of %d" % pid)
    check.refused("process_vm_writev", pid, ctypes.addressof(iovec), 1, ctypes.addressof(iovec), 1, 0, label="writev of %d" % pid)
check.done()
