# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("memory is bounded")
held = []
for size in range(4096):  # 16 GiB
    held.append(bytearray(os.urandom(4096)) * 1024)
check.weak("took 16 GiB")
check.done()
