# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("nothing of the host's environment is inside")
check.expect(HOST["marker"] not in str(dict(os.environ)), "the host's variables are in os.environ")
for name in os.environ:
    check.expect(not name.startswith(("SANDBOX_", "AWS_", "SSH_", "DOCKER_", "INCUS_", "CSB_", "XDG_", "SUDO_")),
                 "variable " + name)
for pid in pids():
    try:
        text = read_text("/proc/%d/environ" % pid)
    except OSError:
        continue
    check.expect(HOST["marker"] not in text, "/proc/%d/environ has the host's variables" % pid)
check.done()
