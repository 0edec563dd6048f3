# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("io_uring")
params = ctypes.create_string_buffer(120)
check.refused("io_uring_setup", 8, ctypes.addressof(params))
check.refused("io_uring_setup", 0, 0)
check.refused("io_uring_enter", -1, 0, 0, 0)
check.refused("io_uring_register", -1, 0, 0, 0)
check.done()
