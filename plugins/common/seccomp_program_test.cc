// SPDX-License-Identifier: Apache-2.0
//
// Each check runs in a forked child under the real filter.
#include "plugins/common/seccomp_program.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

namespace csb {
namespace {

constexpr int kInstallFailed = 251;

// The errno (0: success) that `call` leaves under the filter; 1000 + N: killed by signal N.
int Under(const std::function<long()>& call) {
  static const std::string program = *SeccompProgram();
  const pid_t child = fork();
  if (child == 0) {
    sock_fprog filter{static_cast<unsigned short>(program.size() / sizeof(sock_filter)),
                      reinterpret_cast<sock_filter*>(const_cast<char*>(program.data()))};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
      _exit(kInstallFailed);
    errno = 0;
    const long result = call();
    _exit(result < 0 ? errno : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(SeccompProgram, OrdinaryWorkGoesOn) {
  EXPECT_EQ(Under([] { return long{getpid()}; }), 0);
  EXPECT_EQ(Under([] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }), 0);
  EXPECT_EQ(Under([] { return long{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}; }), 0);
  EXPECT_EQ(Under([] { return long{socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)}; }), 0);
  EXPECT_EQ(Under([] { return long{socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0)}; }), 0);
  EXPECT_EQ(Under([] { return long{socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)}; }), 0);
  int ends[2] = {-1, -1};
  EXPECT_EQ(Under([&] { return long{socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends)}; }), 0);
}

TEST(SeccompProgram, NamespacesAreRefusedWhateverTheFlags) {
  for (const unsigned long flag : {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
                                   CLONE_NEWNET, CLONE_NEWCGROUP}) {
    EXPECT_NE(Under([&] { return syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0); }), 0) << std::hex << flag;
    EXPECT_NE(Under([&] { return syscall(SYS_clone, (1UL << 40) | flag | SIGCHLD, 0, 0, 0, 0); }), 0);
    EXPECT_EQ(Under([&] { return syscall(SYS_unshare, flag); }), EPERM);
  }
  EXPECT_EQ(Under([] { return syscall(SYS_setns, 0, 0); }), EPERM);
  EXPECT_EQ(Under([] { return syscall(SYS_clone3, nullptr, 0); }), ENOSYS);
}

TEST(SeccompProgram, OtherSocketsAreRefused) {
  for (const int family : {AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH, AF_CAN, AF_KEY, AF_TIPC})
    EXPECT_NE(Under([&] { return long{socket(family, SOCK_DGRAM, 0)}; }), 0) << family;
  EXPECT_NE(Under([] { return long{socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)}; }), 0);
  EXPECT_NE(Under([] { return long{socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)}; }), 0);
  EXPECT_NE(Under([] { return long{socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)}; }), 0);
  // The high half of an int argument means nothing to the kernel, and must mean nothing here.
  EXPECT_NE(Under([] { return syscall(SYS_socket, (1UL << 32) | AF_PACKET, SOCK_RAW, 0); }), 0);
  EXPECT_NE(Under([] { return syscall(SYS_socket, (1UL << 32) | AF_ALG, SOCK_SEQPACKET, 0); }), 0);
}

TEST(SeccompProgram, TerminalInjectionIsRefused) {
  char c = 'x';
  EXPECT_EQ(Under([&] { return syscall(SYS_ioctl, 0, TIOCSTI, &c); }), EPERM);
  EXPECT_EQ(Under([&] { return syscall(SYS_ioctl, 0, (1UL << 32) | TIOCSTI, &c); }), EPERM);
  EXPECT_EQ(Under([&] { return syscall(SYS_ioctl, 0, TIOCLINUX, &c); }), EPERM);
  EXPECT_EQ(Under([&] { return syscall(SYS_ioctl, 0, (3UL << 33) | TIOCLINUX, &c); }), EPERM);
}

TEST(SeccompProgram, KernelDoorsAreShut) {
  for (const long number :
       {SYS_ptrace,           SYS_bpf,         SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl,
        SYS_add_key,          SYS_request_key, SYS_mount,           SYS_umount2,     SYS_pivot_root,
        SYS_chroot,           SYS_open_tree,   SYS_move_mount,      SYS_fsopen,      SYS_init_module,
        SYS_finit_module,     SYS_kexec_load,  SYS_reboot,          SYS_swapon,      SYS_open_by_handle_at,
        SYS_process_vm_readv, SYS_pidfd_getfd, SYS_syslog,          SYS_iopl,        SYS_fanotify_init,
        SYS_modify_ldt,       SYS_sethostname, SYS_settimeofday})
    EXPECT_EQ(Under([&] { return syscall(number, 0, 0, 0, 0, 0); }), EPERM) << number;
  for (const long number :
       {long{SYS_io_uring_setup}, long{SYS_io_uring_enter}, long{SYS_io_uring_register}, 463L, 5000L})
    EXPECT_EQ(Under([&] { return syscall(number, 0, 0, 0, 0, 0); }), ENOSYS) << number;
}

#if defined(__x86_64__)
TEST(SeccompProgram, OtherAbisKill) {
  // getpid as i386 has number 20; x32 sets bit 30 of the number. A kernel without the i386 ABI answers
  // with SIGSEGV before any filter is asked; a sanitizer must not make an exit code of that.
  const int end = Under([] {
    signal(SIGSEGV, SIG_DFL);
    long result = 0;
    asm volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    return result;
  });
  EXPECT_TRUE(end == 1000 + SIGSYS || end == 1000 + SIGSEGV) << end;
  EXPECT_NE(Under([] { return syscall(0x40000000 | SYS_getpid); }), 0);
}
#endif

}  // namespace
}  // namespace csb
