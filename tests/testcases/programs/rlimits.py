# SPDX-License-Identifier: Apache-2.0
from probe import *
import resource

check = Check("limits cannot be raised")
for name in ("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_DATA"):
    which = getattr(resource, name)
    soft, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(which, (hard, hard + 1))
            check.escaped(name + " could be raised")
        except (ValueError, OSError):
            check.count += 1
check.expect(resource.getrlimit(resource.RLIMIT_CORE)[0] == 0, "core dumps are written")
check.done()
