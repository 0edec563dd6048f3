# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("personality cannot be used to weaken the address space")
for name, value in (("ADDR_NO_RANDOMIZE", 0x40000), ("READ_IMPLIES_EXEC", 0x400000), ("MMAP_PAGE_ZERO", 0x100000),
                    ("ADDR_LIMIT_3GB", 0x8000000)):
    check.refused("personality", value, label=name)
result, err = syscall("personality", 0xFFFFFFFF)
check.expect(result >= 0 or err in REFUSALS, "asking for the personality fails")
check.done()
