# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the host name is the sandbox's own and cannot be changed")
check.refused("sethostname", b"csb", 3)
check.refused("setdomainname", b"csb", 3)
check.expect(not HOST["hostname"] or os.uname().nodename != HOST["hostname"], "it is the host's: " + os.uname().nodename)
check.done()
