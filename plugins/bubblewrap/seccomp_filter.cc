// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/seccomp_filter.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/random.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "plugins/common/errno_error.h"
#include "plugins/common/unique_fd.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

namespace csb::bwrap {
namespace {

// Allowed whatever the arguments. Names that this machine's libseccomp does not know are left out:
// they then answer ENOSYS.
constexpr const char* kAllowed[] = {
    // files by descriptor
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "fcntl64",
    "flock",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
    "sync",
    "ftruncate",
    "ftruncate64",
    "fallocate",
    "fadvise64",
    "readahead",
    "lseek",
    "_llseek",
    "sendfile",
    "sendfile64",
    "splice",
    "tee",
    "vmsplice",
    "copy_file_range",
    "pipe",
    "pipe2",
    "memfd_create",
    "eventfd",
    "eventfd2",
    "signalfd",
    "signalfd4",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "inotify_init",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "select",
    "_newselect",
    "pselect6",
    // files by name
    "open",
    "openat",
    "openat2",
    "creat",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "stat64",
    "fstat",
    "fstat64",
    "lstat",
    "lstat64",
    "newfstatat",
    "fstatat64",
    "statx",
    "statfs",
    "statfs64",
    "fstatfs",
    "fstatfs64",
    "getdents",
    "getdents64",
    "getcwd",
    "chdir",
    "fchdir",
    "mkdir",
    "mkdirat",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "readlink",
    "readlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "truncate",
    "truncate64",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "umask",
    "mknod",
    "mknodat",
    "getxattr",
    "lgetxattr",
    "fgetxattr",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "listxattr",
    "llistxattr",
    "flistxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    // memory
    "brk",
    "mmap",
    "mmap2",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "mincore",
    "msync",
    "mlock",
    "mlock2",
    "munlock",
    "mlockall",
    "munlockall",
    "membarrier",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "get_mempolicy",
    // processes and threads; clone is below
    "fork",
    "vfork",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "wait4",
    "waitid",
    "waitpid",
    "getpid",
    "getppid",
    "gettid",
    "getpgid",
    "getpgrp",
    "getsid",
    "setpgid",
    "setsid",
    "kill",
    "tkill",
    "tgkill",
    "pidfd_open",
    "pidfd_send_signal",
    "set_tid_address",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "futex",
    "futex_waitv",
    "futex_wait",
    "futex_wake",
    "futex_requeue",
    "arch_prctl",
    "prctl",
    "set_thread_area",
    "get_thread_area",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getparam",
    "sched_setparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_rr_get_interval",
    "sched_getattr",
    "sched_setattr",
    "getpriority",
    "setpriority",
    "ioprio_get",
    "ioprio_set",
    "getrlimit",
    "ugetrlimit",
    "setrlimit",
    "prlimit64",
    "getrusage",
    "times",
    "getcpu",
    "restart_syscall",
    "seccomp",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    // signals
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigpending",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "sigaltstack",
    "sigreturn",
    "pause",
    // time
    "alarm",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "getitimer",
    "setitimer",
    "timer_create",
    "timer_settime",
    "timer_gettime",
    "timer_getoverrun",
    "timer_delete",
    // identity; without capabilities these change nothing
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    "getgroups",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "setfsuid",
    "setfsgid",
    "capget",
    "capset",
    // sockets; socket and socketpair are below
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "shutdown",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "recvmmsg_time64",
    // System V and POSIX IPC, in a namespace of their own
    "shmget",
    "shmat",
    "shmdt",
    "shmctl",
    "semget",
    "semop",
    "semctl",
    "semtimedop",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_notify",
    "mq_getsetattr",
    // others
    "getrandom",
    "uname",
    "sysinfo",
};

// Known and refused: EPERM, which programs understand better than ENOSYS here.
constexpr const char* kRefused[] = {
    "unshare",
    "setns",
    "mount",
    "umount2",
    "umount",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "pidfd_getfd",
    "process_madvise",
    "process_mrelease",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "add_key",
    "request_key",
    "keyctl",
    "open_by_handle_at",
    "name_to_handle_at",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "iopl",
    "ioperm",
    "vhangup",
    "fanotify_init",
    "fanotify_mark",
    "lookup_dcookie",
    "nfsservctl",
    "mbind",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "migrate_pages",
    "move_pages",
    "vm86",
    "vm86old",
    "modify_ldt",
};

constexpr uint64_t kLow32 = 0xFFFFFFFF;

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(ENOSYS))) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void Attribute(scmp_filter_attr attribute, uint32_t value) {
    if (context_ != nullptr) Check(seccomp_attr_set(context_, attribute, value), "seccomp_attr_set", "");
  }
  void Allow(const char* name) { Rule(SCMP_ACT_ALLOW, name, {}); }
  void Allow(const char* name, std::initializer_list<scmp_arg_cmp> when) { Rule(SCMP_ACT_ALLOW, name, when); }
  void Refuse(const char* name, int error) { Rule(SCMP_ACT_ERRNO(static_cast<uint16_t>(error)), name, {}); }
  void Refuse(const char* name, int error, std::initializer_list<scmp_arg_cmp> when) {
    Rule(SCMP_ACT_ERRNO(static_cast<uint16_t>(error)), name, when);
  }

  Result<std::string> Export() {
    if (context_ == nullptr) return Error{CSB_E_INTERNAL, "seccomp_init failed", "", false};
    if (!status_) return status_.error();
    UniqueFd fd(memfd_create("seccomp", MFD_CLOEXEC));
    if (!fd) return ErrnoError("memfd_create");
    if (const int error = seccomp_export_bpf(context_, fd.get()); error != 0)
      return ErrnoError("seccomp_export_bpf", "", -error);
    std::string program;
    char buffer[4096];
    off_t at = 0;
    for (ssize_t n; (n = pread(fd.get(), buffer, sizeof buffer, at)) != 0; at += n) {
      if (n < 0) return ErrnoError("pread", "seccomp program");
      program.append(buffer, static_cast<size_t>(n));
    }
    return program;
  }

 private:
  void Rule(uint32_t action, const char* name, std::initializer_list<scmp_arg_cmp> when) {
    if (context_ == nullptr) return;
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) return;  // not on this architecture, or newer than this libseccomp: ENOSYS
    Check(seccomp_rule_add_array(context_, action, number, static_cast<unsigned>(when.size()),
                                 when.size() > 0 ? when.begin() : nullptr),
          "seccomp_rule_add", name);
  }
  void Check(int result, const char* call, const char* name) {
    if (result != 0 && status_) status_ = ErrnoError(call, name, -result);
  }

  scmp_filter_ctx context_;
  Status status_;
};

void AllowClone(Filter& filter) {
  constexpr uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  // CLONE_NEWTIME lies in the byte of the exit signal, where clone(2) can't take it.
#if defined(__s390__) || defined(__CRIS__)
  filter.Allow("clone", {SCMP_A1_64(SCMP_CMP_MASKED_EQ, kNamespaces, 0)});
#else
  filter.Allow("clone", {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kNamespaces, 0)});
#endif
  // clone3 stands nowhere: ENOSYS, so that libraries fall back to clone.
}

void AllowSockets(Filter& filter) {
  struct Kind {
    uint64_t type, protocol;
  };
  // Protocols by name as well: others would load a kernel module that nobody needs (SCTP, DCCP, …).
  constexpr Kind kInet[] = {
      {SOCK_STREAM, 0}, {SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, 0}, {SOCK_DGRAM, IPPROTO_UDP}};
  for (const char* call : {"socket", "socketpair"}) {
    filter.Allow(call, {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, AF_UNIX)});
    for (const uint64_t family : {AF_INET, AF_INET6})
      for (const Kind& kind : kInet)  // above the type's 4 bits stand SOCK_CLOEXEC and SOCK_NONBLOCK
        filter.Allow(call, {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, family),
                            SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xF, kind.type),
                            SCMP_A2_64(SCMP_CMP_MASKED_EQ, kLow32, kind.protocol)});
  }
  filter.Allow("socket", {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, AF_NETLINK),
                          SCMP_A2_64(SCMP_CMP_MASKED_EQ, kLow32, NETLINK_ROUTE)});
}

void AllowIoctls(Filter& filter) {
  // Terminals without TIOCSTI, TIOCLINUX and TIOCSETD; descriptors; copying files; interfaces.
  constexpr uint64_t kGood[] = {
      TCGETS,       TCSETS,          TCSETSW,       TCSETSF,     TCGETA,         TCSETA,       TCSETAW,
      TCSETAF,      TCSBRK,          TCXONC,        TCFLSH,      TIOCGWINSZ,     TIOCSWINSZ,   TIOCGPGRP,
      TIOCSPGRP,    TIOCSCTTY,       TIOCNOTTY,     TIOCGSID,    TIOCOUTQ,       TIOCGPTN,     TIOCSPTLCK,
      TIOCGPTLCK,   TIOCGPTPEER,     TIOCEXCL,      TIOCNXCL,    TIOCPKT,        TIOCGETD,     FIONREAD,
      FIONBIO,      FIOASYNC,        FIOCLEX,       FIONCLEX,    FIOQSIZE,       FIGETBSZ,     FICLONE,
      FICLONERANGE, FS_IOC_GETFLAGS, FS_IOC_FIEMAP, SIOCGIFCONF, SIOCGIFNAME,    SIOCGIFINDEX, SIOCGIFFLAGS,
      SIOCGIFADDR,  SIOCGIFNETMASK,  SIOCGIFHWADDR, SIOCGIFMTU,  SIOCGIFBRDADDR, SIOCATMARK,   SIOCOUTQ,
      RNDGETENTCNT};
  for (const uint64_t request : kGood)
    filter.Allow("ioctl", {SCMP_A1_64(SCMP_CMP_MASKED_EQ, kLow32, request)});
  for (const uint64_t request : {uint64_t{TIOCSTI}, uint64_t{TIOCLINUX}, uint64_t{TIOCSETD}})
    filter.Refuse("ioctl", EPERM, {SCMP_A1_64(SCMP_CMP_MASKED_EQ, kLow32, request)});
}

}  // namespace

Result<std::string> BuildSeccompFilter() {
  Filter filter;
  filter.Attribute(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  filter.Attribute(SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree instead of a list
  for (const char* name : kAllowed) filter.Allow(name);
  for (const char* name : kRefused) filter.Refuse(name, EPERM);
  // personality only as glibc and setarch -R use it; never the 32-bit ones.
  for (const uint64_t persona : {uint64_t{0}, uint64_t{ADDR_NO_RANDOMIZE}, uint64_t{kLow32}})
    filter.Allow("personality", {SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow32, persona)});
  AllowClone(filter);
  AllowSockets(filter);
  AllowIoctls(filter);
  return filter.Export();
}

}  // namespace csb::bwrap
