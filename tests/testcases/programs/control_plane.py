# SPDX-License-Identifier: Apache-2.0
from probe import *
import socket

check = Check("no engine, no bus and no abstract socket of the host can be reached")


def connects(address):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    try:
        s.connect(address)
        return True
    except OSError:
        return False
    finally:
        s.close()


for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/lib/incus/unix.socket",
             "/run/incus/unix.socket", "/var/snap/lxd/common/lxd/unix.socket", "/run/podman/podman.sock",
             "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket", "/dev/log",
             "/tmp/.X11-unix/X0", "/run/snapd.socket", "/run/libvirt/libvirt-sock", HOST["path"]):
    if path:
        check.expect(not connects(path), "connects to " + path)
for name in ("/tmp/.X11-unix/X0", "/containerd-shim/1.sock", "/org/kernel/linux/storage/multipathd", "dbus", HOST["abstract"]):
    if name:
        check.expect(not connects("\0" + name), "connects to abstract " + name)
try:
    for line in read_text("/proc/net/unix").splitlines()[1:]:
        name = line.split()[-1]
        check.expect(not name.startswith("@") or not connects("\0" + name[1:]), "abstract socket " + name)
except OSError:
    pass
check.done()
