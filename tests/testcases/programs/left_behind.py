# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("children that left their session and ignore signals")
# Some hold stdout, some are stopped; all must be gone once this command has ended.
for kind in range(12):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            if kind % 3 == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
            if kind % 3 == 2:
                for fd in (0, 1, 2):
                    os.close(fd)
            libc.prctl(15, b"csb-left-behind", 0, 0, 0)
            time.sleep(600)
        os._exit(0)
    os.wait()
time.sleep(0.2)
check.expect(True, "")
check.done()
