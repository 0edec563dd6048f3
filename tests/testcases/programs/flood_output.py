# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("64 MiB of output")
line = b"x" * 65535 + b"\n"
for _ in range(512):
    os.write(1, line)
    os.write(2, line)
check.expect(True, "")
check.done()
