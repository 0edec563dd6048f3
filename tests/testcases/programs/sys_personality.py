# SPDX-License-Identifier: Apache-2.0
from probe import *

# ADDR_NO_RANDOMIZE alone may be had: it weakens nobody but its own process, and setarch -R and debuggers need it.
check = Check("personality cannot be used to weaken the address space")
for name, value in (("PER_LINUX32", 8), ("both", 0x440000), ("READ_IMPLIES_EXEC", 0x400000), ("MMAP_PAGE_ZERO", 0x100000),
                    ("ADDR_LIMIT_3GB", 0x8000000)):
    check.refused("personality", value, label=name)
result, err = syscall("personality", 0xFFFFFFFF)
check.expect(result >= 0 or err in REFUSALS, "asking for the personality fails")
check.done()
