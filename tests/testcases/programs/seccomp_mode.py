# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("a seccomp filter is in force")
status = status_of()
check.expect(status.get("Seccomp") == "2", "Seccomp is %s" % status.get("Seccomp"))
check.expect(status.get("NoNewPrivs") == "1", "no_new_privs is not set")
check.done()
