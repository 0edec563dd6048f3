# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("no process of the command before is left")
for pid in pids():
    try:
        status = status_of(pid)
    except OSError:
        continue
    check.expect(status["Name"] != "csb-left-behind" and not status["State"].startswith("T"), "%d %s" % (pid, status["Name"]))
check.done()
