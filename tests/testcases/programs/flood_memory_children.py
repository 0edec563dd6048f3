# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("memory is bounded over all processes together")
pids_ = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        held = [bytearray(os.urandom(4096)) * 1024 for _ in range(64)]  # 256 MiB each
        time.sleep(2)
        os._exit(0)
    pids_.append(pid)
ends = [os.waitpid(pid, 0)[1] for pid in pids_]
if all(os.WIFEXITED(s) and os.WEXITSTATUS(s) == 0 for s in ends):
    check.weak("8 processes had 2 GiB together")
check.count = len(ends)
check.done()
