# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("user code is killed before the agent when memory ends")
own = int(read_text("/proc/self/oom_score_adj"))
check.expect(own > 0, "oom_score_adj is %d" % own)
try:
    with open("/proc/self/oom_score_adj", "w") as f:
        f.write("-1000")
    check.escaped("oom_score_adj could be lowered")
except OSError:
    pass
check.done()
