# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("only descriptors 0 to 2 are open")
for name in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink("/proc/self/fd/" + name)
    except FileNotFoundError:
        continue  # the one listdir had open
    if int(name) > 2:
        # The interpreter may hold the program's own file.
        check.expect(target.startswith(("/workspace", "/tmp", "/memfd:", "memfd:")), "fd %s is %s" % (name, target))
    else:
        check.expect(not target.startswith("/") or target == "/dev/null" or target.startswith("/memfd:"),
                     "fd %s is %s" % (name, target))
check.done()
