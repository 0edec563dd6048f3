# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket

check = Check("garbage above 32-bit arguments does not get past the filter")
AF = dict(alg=38, packet=17, vsock=40, key=15, netlink_audit=16)
for name, family in AF.items():
    check.refused("socket", family | HIGH, 3, 9 if name == "netlink_audit" else 0, label="socket %s" % name,
                  exactly=REFUSALS + (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT))
check.refused("socket", 2 | HIGH, 3 | HIGH, 1 | HIGH, label="raw socket")
check.refused("socket", 2, 3 | 0x80000 | HIGH, 1, label="raw socket with flags")
for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C)):
    for garbage in (HIGH, 0xFFFFFFFF << 32):
        check.refused("ioctl", 0, request | garbage, ctypes.addressof(ctypes.create_string_buffer(b"x")),
                      label="%s with high bits" % name)
check.refused("personality", 0x0400000 | HIGH, label="personality with high bits", exactly=REFUSALS + (errno.EINVAL,))
check.done()
