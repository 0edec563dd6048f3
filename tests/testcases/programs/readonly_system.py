# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("system folders cannot be written")
for folder in ("/", "/usr", "/usr/bin", "/usr/lib", "/bin", "/sbin", "/lib", "/etc", "/usr/local", "/usr/local/bin", "/run",
               "/var", "/run/clara", "/proc", "/sys", "/dev"):
    if os.path.isdir(folder):
        path = os.path.join(folder, "csb-planted")
        check.fails("creating " + path, lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)))
for path in ("/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/ld.so.preload", "/etc/ld.so.cache", sys.executable,
             "/usr/bin/env", "/bin/sh", os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")):
    if os.path.exists(path):
        check.fails("opening %s to write" % path, lambda: os.close(os.open(path, os.O_WRONLY)))
        check.fails("renaming " + path, lambda: os.rename(path, path + ".csb"))
        check.fails("chmod of " + path, lambda: os.chmod(path, 0o777))
check.done()
