# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("links planted where the host might follow them")
# The next call, the listing and the clean-up must neither follow nor choke on these.
os.chdir("/workspace")
for name in (".local", ".cache", ".config", "__pycache__", "tmp"):
    if not os.path.lexists(name):
        os.symlink("/etc", name)
for name, target in (("up", "../../../../../../etc/passwd"), ("proc", "/proc/1/root"), ("self", "self"), ("host", HOST["file"] or "/root")):
    if not os.path.lexists("csb-" + name):
        os.symlink(target, "csb-" + name)
try:
    with open("csb-host", "w") as f:
        f.write("planted")
    if HOST["file"]:
        check.escaped("wrote through a link to the host")
except OSError:
    pass
try:
    check.expect(not os.listdir("csb-proc/root"), "a link through /proc/1/root shows a root folder")
except OSError:
    pass
check.done()
