# SPDX-License-Identifier: Apache-2.0
from probe import *
import threading

check = Check("threads are bounded, and one that cannot start is an error, not a death")
stop, threads, limited = threading.Event(), [], False
threading.stack_size(65536)
try:
    while len(threads) < 20000:
        thread = threading.Thread(target=stop.wait)
        thread.start()
        threads.append(thread)
except RuntimeError:
    limited = True
stop.set()
for thread in threads:
    thread.join()
if not limited:
    check.weak("%d threads started" % len(threads))
check.count = len(threads)
check.done()
