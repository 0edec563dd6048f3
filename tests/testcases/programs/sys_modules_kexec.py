# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("kernel modules and kexec")
check.refused("init_module", 0, 0, 0)
check.refused("finit_module", -1, 0, 0)
check.refused("delete_module", b"csb", 0)
check.refused("kexec_load", 0, 0, 0, 0)
check.refused("kexec_file_load", -1, -1, 0, 0, 0)
check.refused("iopl", 3)
check.refused("ioperm", 0, 1, 1)
check.done()
