# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("quota, swap, accounting, reboot, kernel log, hangup")
check.refused("quotactl", 0x80000700, b"/", 0, 0)
check.refused("quotactl_fd", -1, 0, 0, 0)
check.refused("swapon", b"/tmp/none", 0)
check.refused("swapoff", b"/tmp/none")
check.refused("acct", b"/tmp/none")
check.refused("acct", 0)
check.refused("reboot", 0xFEE1DEAD, 672274793, 0, 0, label="reboot (Ctrl-Alt-Del off)")
check.refused("syslog", 3, 0, 0)
check.refused("syslog", 10, 0, 0)
check.refused("vhangup")
check.done()
