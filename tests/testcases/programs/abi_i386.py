# SPDX-License-Identifier: Apache-2.0
from probe import *
import mmap

check = Check("the i386 ABI by int 0x80")


def i386(number, ebx=0, ecx=0, edx=0):
    """eax of int 0x80; its code is made here, so that no compiler is needed."""
    code = b"\x53\xb8" + number.to_bytes(4, "little") + b"\xbb" + ebx.to_bytes(4, "little") + b"\xb9" + \
        ecx.to_bytes(4, "little") + b"\xba" + edx.to_bytes(4, "little") + b"\xcd\x80\x5b\x48\x98\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(address)()


if platform.machine() == "x86_64":
    try:
        probe = in_child(lambda: 0 if i386(20) > 0 else 1)
    except OSError:
        probe = (None, None)
    for name, number, args in (("getpid", 20, ()), ("unshare", 310, (0x10000000,)), ("socketcall", 102, (1, 0)),
                               ("mount", 21, ()), ("ptrace", 26, ()), ("clone", 120, (0x10000000 | 17,)),
                               ("keyctl", 288, (0, 0xFFFFFFFD)), ("bpf", 357, ())):
        def attempt():
            result = i386(number, *args)
            return 0 if result >= 0 else -result
        check.count += 1
        status, killed = in_child(attempt)
        # SIGSEGV: the kernel has no i386 at all. SIGSYS: the filter kills.
        if killed in (signal.SIGSYS, signal.SIGSEGV):
            continue
        if status == 0:
            check.escaped("i386 %s worked" % name)
        elif status not in REFUSALS:
            check.weak("i386 %s reached the kernel: %s" % (name, errno.errorcode.get(status, status)))
check.done()
