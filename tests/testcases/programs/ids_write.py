# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("a file of one user")
with open("/workspace/csb-secret", "w") as f:
    f.write("of user one")
check.expect(True, "")
check.done()
