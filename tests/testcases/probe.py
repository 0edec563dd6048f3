# SPDX-License-Identifier: Apache-2.0
"""What the programs share; the runner puts this text in front of each of them.

    check = Check("mount family")
    check.refused("mount", b"none", b"/mnt", b"tmpfs", 0, 0)
    check.done()                # prints one line: OK …, WEAK … or ESCAPED …, and exits 0 or 1

ESCAPED: the thing that must not work worked. WEAK: it did not work, but not because it was refused
(the kernel looked at the arguments), or a bound was not met. Needs Python 3.8, Linux, no packages.
"""
import ctypes
import errno
import os
import platform
import signal
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# x86_64 numbers; from pidfd_send_signal (424) on they are the same on every architecture.
NR = dict(
    ptrace=101, syslog=103, personality=135, pivot_root=155, adjtimex=159, chroot=161, acct=163,
    settimeofday=164, mount=165, umount2=166, swapon=167, swapoff=168, reboot=169, sethostname=170,
    setdomainname=171, iopl=172, ioperm=173, init_module=175, delete_module=176, quotactl=179,
    lookup_dcookie=212, clock_settime=227, vhangup=153, kexec_load=246, add_key=248, request_key=249, keyctl=250,
    migrate_pages=256, unshare=272, move_pages=279, perf_event_open=298, fanotify_init=300,
    name_to_handle_at=303, open_by_handle_at=304, clock_adjtime=305, setns=308, process_vm_readv=310,
    process_vm_writev=311, kcmp=312, finit_module=313, kexec_file_load=320, bpf=321, userfaultfd=323,
    io_uring_setup=425, io_uring_enter=426, io_uring_register=427, open_tree=428, move_mount=429, fsopen=430,
    fsconfig=431, fsmount=432, fspick=433, clone3=435, pidfd_getfd=438, process_madvise=440,
    mount_setattr=442, quotactl_fd=443, statmount=457, listmount=458, clone=56, socket=41, ioctl=16, getpid=39,
    mknodat=259, kill=62, prctl=157,
)
if platform.machine() == "aarch64":
    NR.update(
        ptrace=117, syslog=116, personality=92, pivot_root=41, adjtimex=171, chroot=51, acct=89, settimeofday=170,
        mount=40, umount2=39, swapon=224, swapoff=225, reboot=142, sethostname=161, setdomainname=162,
        init_module=105, delete_module=106, quotactl=60, lookup_dcookie=18, clock_settime=112, vhangup=58,
        kexec_load=104, add_key=217, request_key=218, keyctl=219, migrate_pages=238, unshare=97,
        move_pages=239, perf_event_open=241, fanotify_init=262, name_to_handle_at=264, open_by_handle_at=265,
        clock_adjtime=266, setns=268, process_vm_readv=270, process_vm_writev=271, kcmp=272, finit_module=273,
        kexec_file_load=294, bpf=280, userfaultfd=282, clone=220, socket=198, ioctl=29, getpid=172, mknodat=33,
        kill=129, prctl=167)
    for gone in ("iopl", "ioperm"):
        NR.pop(gone)

REFUSALS = (errno.EPERM, errno.ENOSYS, errno.EACCES)
HIGH = 1 << 32  # garbage above an argument that the kernel takes as 32 bits


def syscall(name, *args):
    """(result, errno) of a raw system call by name or number, in this process."""
    number = NR[name] if isinstance(name, str) else name
    prepared = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_ulong(a & (1 << 64) - 1)
                if isinstance(a, int) else a for a in args]
    prepared += [ctypes.c_ulong(0)] * (6 - len(prepared))
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_ulong(number), *prepared)
    return result, ctypes.get_errno() if result < 0 else 0


def in_child(work, seconds=10):
    """Runs work() -> small int in a forked child. Returns (exit status or None, signal or None)."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work() & 0xFF)
        except BaseException:
            os._exit(255)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None, signal.SIGALRM


class Check:
    def __init__(self, what):
        self.what, self.bad, self.soft, self.count = what, [], [], 0

    def escaped(self, text):
        self.bad.append(text)

    def weak(self, text):
        self.soft.append(text)

    def expect(self, good, text):
        self.count += 1
        if not good:
            self.escaped(text)

    def refused(self, name, *args, exactly=REFUSALS, label=None):
        """The call must end with one of these errors, or kill its process, whatever its arguments."""
        if isinstance(name, str) and name not in NR:
            return
        self.count += 1
        label = label or str(name)

        def attempt():
            result, err = syscall(name, *args)
            return 0 if result >= 0 else err
        status, killed = in_child(attempt)
        if killed == signal.SIGSYS:
            return
        if killed is not None or status == 255:
            self.weak("%s ended its process by signal %s" % (label, killed))
        elif status == 0:
            self.escaped("%s worked" % label)
        elif status not in exactly:
            self.weak("%s reached the kernel: %s" % (label, errno.errorcode.get(status, status)))

    def fails(self, label, work):
        """work() must raise OSError."""
        self.count += 1
        try:
            work()
        except OSError:
            return
        self.escaped("%s worked" % label)

    def done(self):
        word, texts = ("ESCAPED", self.bad) if self.bad else ("WEAK", self.soft) if self.soft else ("OK", [])
        line = "%s %s: %s" % (word, self.what, "; ".join(texts[:8]) if texts else "%d checks" % self.count)
        print(line.replace("\n", " "), flush=True)
        sys.exit(0 if word == "OK" else 1)


def read_text(path, limit=1 << 20):
    with open(path, "rb") as f:
        return f.read(limit).decode("utf-8", "replace")


def status_of(pid="self"):
    fields = {}
    for line in read_text("/proc/%s/status" % pid).splitlines():
        key, _, value = line.partition(":")
        fields[key] = value.strip()
    return fields


def pids():
    return sorted(int(p) for p in os.listdir("/proc") if p.isdigit())


def ancestors():
    """Processes above this one, as far as /proc tells."""
    found, pid = [], os.getppid()
    while pid > 0 and pid not in found:
        found.append(pid)
        try:
            pid = int(status_of(pid)["PPid"])
        except (OSError, KeyError):
            break
    return found


# Filled by the runner: what the host has that must not be seen or reached; root is the device of its /. With image,
# system folders come from an image of the backend's, and may hold what an image holds.
HOST = {"port": 0, "abstract": "", "path": "", "file": "", "marker": "", "hostname": "", "root": 0, "image": False}
