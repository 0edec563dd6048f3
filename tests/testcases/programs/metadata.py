# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket

check = Check("cloud metadata addresses are out of reach")
for family, address in ((socket.AF_INET, "169.254.169.254"), (socket.AF_INET, "169.254.170.2"), (socket.AF_INET, "100.100.100.200"),
                        (socket.AF_INET, "192.0.0.192"), (socket.AF_INET6, "fd00:ec2::254")):
    try:
        s = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        continue
    s.settimeout(1.5)
    try:
        s.connect((address, 80))
        check.escaped(address + " connects")
    except ConnectionRefusedError:
        check.escaped(address + " answers")
    except OSError:
        check.count += 1
    s.close()
check.done()
