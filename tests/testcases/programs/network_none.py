# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket

check = Check("no network but the sandbox's own loopback")
names = [name for _, name in socket.if_nameindex()]
check.expect(names in (["lo"], []), "interfaces " + " ".join(names))


def reaches(address, port, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(1.5)
    try:
        s.connect((address, port))
        return True
    except OSError as e:
        return isinstance(e, ConnectionRefusedError) and not address.startswith("127.")
    finally:
        s.close()


for address, port in (("1.1.1.1", 53), ("8.8.8.8", 53), ("10.0.0.1", 80), ("172.17.0.1", 80), ("192.168.0.1", 80)):
    check.expect(not reaches(address, port), "%s answers" % address)
if HOST["port"]:
    check.expect(not reaches("127.0.0.1", HOST["port"]), "the host's loopback answers")
for line in read_text("/proc/net/route").splitlines()[1:]:
    check.expect(line.split()[0] == "lo", "route by " + line.split()[0])
check.done()
