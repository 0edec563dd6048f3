# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket

check = Check("sockets: unix, inet, inet6 and route only")
NO = REFUSALS + (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
for name, family, kind, protocol in (
        ("AF_ALG", 38, 5, 0), ("AF_PACKET", 17, 3, 0x300), ("AF_PACKET dgram", 17, 2, 0x300), ("AF_VSOCK", 40, 1, 0),
        ("AF_KEY", 15, 3, 2), ("AF_BLUETOOTH", 31, 3, 1), ("AF_CAN", 29, 3, 1), ("AF_TIPC", 30, 2, 0), ("AF_XDP", 44, 3, 0),
        ("AF_RDS", 21, 5, 0), ("AF_NFC", 39, 5, 0), ("AF_SMC", 43, 1, 0), ("AF_QIPCRTR", 42, 2, 0), ("AF_KCM", 41, 5, 0),
        ("AF_APPLETALK", 5, 2, 0), ("AF_X25", 9, 5, 0), ("AF_LLC", 26, 1, 0), ("AF_MCTP", 45, 2, 0), ("AF_RXRPC", 33, 2, 2),
        ("inet raw", 2, 3, 1), ("inet raw 255", 2, 3, 255), ("inet6 raw", 10, 3, 58), ("inet packet", 2, 10, 0),
        ("SCTP", 2, 1, 132), ("SCTP seqpacket", 2, 5, 132), ("DCCP", 2, 6, 33), ("UDPLITE", 2, 2, 136),
        ("L2TP", 2, 2, 115)):
    check.refused("socket", family, kind, protocol, label=name, exactly=NO)
for protocol in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 19, 20, 21, 22):
    check.refused("socket", 16, 3, protocol, label="netlink %d" % protocol, exactly=NO)
for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
    try:
        socket.socket(family, kind).close()
    except OSError as e:
        check.weak("an ordinary socket %d/%d fails: %s" % (family, kind, e))
a, b = socket.socketpair()
a.sendall(b"x")
check.expect(b.recv(1) == b"x", "socketpair does not work")
check.done()
