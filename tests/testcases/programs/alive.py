# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the sandbox works")
check.expect(sum(range(1000)) == 499500, "arithmetic")
pid = os.fork()
if pid == 0:
    os._exit(7)
check.expect(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, "a child does not end as it should")
with open("/workspace/.csb-alive", "w") as f:
    f.write("x")
os.unlink("/workspace/.csb-alive")
check.done()
