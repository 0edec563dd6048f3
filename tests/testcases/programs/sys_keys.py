# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("kernel keyrings")
check.refused("add_key", b"user", b"csb", b"x", 1, -3)
check.refused("request_key", b"user", b"csb", 0, 0)
check.refused("keyctl", 0, -3, 0)
check.refused("keyctl", 1, 0)
check.refused("keyctl", 9999)
check.done()
