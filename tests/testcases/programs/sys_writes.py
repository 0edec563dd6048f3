# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("nothing can be written below /sys")
count = 0
for folder, _, files in os.walk("/sys"):
    for name in files:
        count += 1
        path = os.path.join(folder, name)
        try:
            if os.access(path, os.W_OK):
                os.close(os.open(path, os.O_WRONLY))
                check.escaped(path)
        except OSError:
            pass
    if count > 20000:
        break
check.count = max(count, 1)
for name in ("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware/efi/efivars", "/sys/kernel/security"):
    try:
        listed = os.listdir(name)
    except OSError:
        listed = []
    check.expect(not listed, name + " can be listed")
check.done()
