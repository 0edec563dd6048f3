# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("no path of the host but read-only system folders")
known = {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "tmp",
         "usr", "var", "workspace", "opt", "mnt", "srv", "media", "boot"}
root = os.stat("/").st_dev
check.expect(root != HOST["root"], "/ is the host's own")


def of_image(path):
    """Part of the image that / is: nothing of the host's, as long as nothing is mounted there (see below)."""
    return HOST["image"] and os.lstat(path).st_dev == root


for name in os.listdir("/"):
    if name == ".dockerenv" and of_image("/" + name):
        continue
    if name == ".clara" and of_image("/" + name):  # the agent and its folders, where an image's init has /run
        check.expect(set(os.listdir("/" + name)) <= {"bin", "ctl", "bridges"}, "/.clara holds other things")
        continue
    check.expect(name in known, "/" + name)
for folder in ("/home", "/root", "/opt", "/mnt", "/srv", "/media", "/boot", "/var/lib", "/var/log", "/var/run", "/data"):
    try:
        names = [n for n in os.listdir(folder) if n != "clara" and not of_image(os.path.join(folder, n))]
    except OSError:
        names = []
    check.expect(not names, "%s holds %s" % (folder, names[:5]))
for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/ssl/private", "/etc/machine-id",
             "/etc/krb5.keytab", "/etc/fstab", "/etc/crontab", "/run/secrets", "/run/systemd",
             "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus",
             "/var/lib/incus", "/var/lib/docker", "/run/incus", "/run/user", HOST["path"] or "/nonexistent"):
    try:
        readable = os.path.exists(path) and (os.listdir(path) if os.path.isdir(path) else bool(open(path).read()))
    except OSError:
        readable = False
    if path == "/etc/fstab" and readable and of_image(path):
        continue
    check.expect(not readable, path + " is there")
passwd = read_text("/etc/passwd")
check.expect(len(passwd.splitlines()) < 12 or of_image("/etc/passwd"), "/etc/passwd looks like the host's: %d users" % len(passwd.splitlines()))
allowed = ("/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/dev", "/tmp", "/workspace", "/run", "/sys", "/var", "/opt")
if HOST["image"]:
    allowed = ("/proc", "/sys", "/dev", "/tmp", "/workspace", "/run/clara", "/.clara/", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
for line in read_text("/proc/self/mountinfo").splitlines():
    where = line.split()[4]
    check.expect(where == "/" or where.startswith(allowed), "mount at " + where)
check.done()
