# SPDX-License-Identifier: Apache-2.0
from probe import *

# No verdict is printed: the deadline ends it.
while True:
    try:
        os.fork()
    except OSError:
        pass
