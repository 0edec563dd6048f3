// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/seccomp_policy.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/random.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <termios.h>

#include <cerrno>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

namespace csb {
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

class Policy {
 public:
  using When = std::vector<SeccompArg>;
  void Allow(const char* name, When when = {}) { rules.push_back({name, 0, std::move(when)}); }
  void Refuse(const char* name, int error, When when = {}) {
    rules.push_back({name, error, std::move(when)});
  }

  std::vector<SeccompRule> rules;
};

void AllowClone(Policy& policy) {
  constexpr uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  // CLONE_NEWTIME lies in the byte of the exit signal, where clone(2) can't take it.
#if defined(__s390__) || defined(__CRIS__)
  policy.Allow("clone", {{1, kNamespaces, 0}});
#else
  policy.Allow("clone", {{0, kNamespaces, 0}});
#endif
  // clone3 stands nowhere: ENOSYS, so that libraries fall back to clone.
}

void AllowSockets(Policy& policy) {
  struct Kind {
    uint64_t type, protocol;
  };
  // Protocols by name as well: others would load a kernel module that nobody needs (SCTP, DCCP, …).
  constexpr Kind kInet[] = {
      {SOCK_STREAM, 0}, {SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, 0}, {SOCK_DGRAM, IPPROTO_UDP}};
  for (const char* call : {"socket", "socketpair"}) {
    policy.Allow(call, {{0, kLow32, AF_UNIX}});
    for (const uint64_t family : {AF_INET, AF_INET6})
      for (const Kind& kind : kInet)  // above the type's 4 bits stand SOCK_CLOEXEC and SOCK_NONBLOCK
        policy.Allow(call, {{0, kLow32, family}, {1, 0xF, kind.type}, {2, kLow32, kind.protocol}});
  }
  policy.Allow("socket", {{0, kLow32, AF_NETLINK}, {2, kLow32, NETLINK_ROUTE}});
}

void AllowIoctls(Policy& policy) {
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
  for (const uint64_t request : kGood) policy.Allow("ioctl", {{1, kLow32, request}});
  for (const uint64_t request : {uint64_t{TIOCSTI}, uint64_t{TIOCLINUX}, uint64_t{TIOCSETD}})
    policy.Refuse("ioctl", EPERM, {{1, kLow32, request}});
}

std::vector<SeccompRule> MakePolicy() {
  Policy policy;
  for (const char* name : kAllowed) policy.Allow(name);
  for (const char* name : kRefused) policy.Refuse(name, EPERM);
  // personality only as glibc and setarch -R use it; never the 32-bit ones.
  for (const uint64_t persona : {uint64_t{0}, uint64_t{ADDR_NO_RANDOMIZE}, uint64_t{kLow32}})
    policy.Allow("personality", {{0, kLow32, persona}});
  AllowClone(policy);
  AllowSockets(policy);
  AllowIoctls(policy);
  return std::move(policy.rules);
}

}  // namespace

const std::vector<SeccompRule>& SeccompPolicy() {
  static const std::vector<SeccompRule> policy = MakePolicy();
  return policy;
}

}  // namespace csb
