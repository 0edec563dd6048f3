// SPDX-License-Identifier: Apache-2.0
#include "agent/process/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "agent/base/log.h"
#include "agent/process/code_file.h"
#include "agent/process/lineage.h"
#include "agent/process/spec.h"
#include "agent/python/warm_interpreter.h"

namespace csb::agent {
namespace {

constexpr int kSocket = 3;
constexpr int kSignals = 4;
// A kill normally goes forward on SIGCHLD alone; this only covers a process that slipped between two sweeps.
constexpr int kResweepMs = 10;

// A fork begins at once. One that does not was stopped by the user's other code, or the machine has no time.
constexpr int kBeginCheckMs = 50;
constexpr int kBeginChecks = 100;

class Supervisor {
 public:
  explicit Supervisor(const Identity& identity) : identity_(identity), warm_(identity) {}

  [[noreturn]] void Run() {
    for (;;) {
      // poll ignores a negative descriptor.
      pollfd fds[4] = {{closing_ ? -1 : kSocket, POLLIN, 0},
                       {kSignals, POLLIN, 0},
                       {warm_.control(), POLLIN, 0},
                       {warm_.orders(), POLLIN, 0}};
      const bool beginning = warm_run_ && warm_.begun() == WarmInterpreter::Begun::kNotYet;
      const int ready = poll(fds, 4, busy_ && killing_ ? kResweepMs : beginning ? kBeginCheckMs : -1);
      if (ready < 0 && errno != EINTR) _exit(1);
      if (ready == 0) sweeper_.Forget();
      if (ready == 0 && beginning) WakeFork();
      if (fds[0].revents != 0) TakeOrder();
      if (fds[1].revents != 0) DrainSignals();
      // Before anything is reaped: what the fork of a run has said decides what its end means.
      if ((fds[2].revents | fds[3].revents) != 0) warm_.Receive();
      if (busy_) Advance();
      if (!busy_) Rest();
    }
  }

 private:
  void TakeOrder() {
    static char buffer[kInlineSpec + 64];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)];
    iovec io{buffer, sizeof buffer};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(kSocket, &message, MSG_CMSG_CLOEXEC);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size < static_cast<ssize_t>(sizeof(Order))) {  // the agent is gone
      closing_ = killing_ = killing_by_order_ = true;
      return;
    }
    Fd fds[kMaxPassedFds];
    size_t count = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < n && count < kMaxPassedFds; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        fds[count++].Reset(fd);
      }
    }
    Order order;
    std::memcpy(&order, buffer, sizeof order);
    if (order == Order::kKill) {
      if (busy_) killing_ = killing_by_order_ = true;
      return;
    }
    std::string_view bytes(buffer + sizeof order, static_cast<size_t>(size) - sizeof order);
    if (order == Order::kSignal) return Signal(bytes);
    if (order == Order::kStartFromFile && count > 0)
      StartFromFile(fds, count);
    else
      Start(bytes, fds, count);
  }

  void StartFromFile(Fd* fds, size_t count) {
    const Fd file = std::move(fds[count - 1]);
    struct stat info;
    void* map = MAP_FAILED;
    if (fstat(file.get(), &info) == 0 && info.st_size > 0)
      map = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (map == MAP_FAILED) return Answer({Stage::kSpec, errno, 0});
    Start({static_cast<const char*>(map), static_cast<size_t>(info.st_size)}, fds, count - 1);
    munmap(map, static_cast<size_t>(info.st_size));
  }

  void Start(std::string_view bytes, Fd* fds, size_t count) {
    auto spec = StartSpec::Parse(bytes);
    if (!spec || count < (spec->task.empty() ? 3u : 4u)) return Answer({Stage::kSpec, EINVAL, 0});
    warm_spec_.reset();
    if (!spec->warm_env.empty()) {
      if (StartWarm(*spec, fds)) return;
      warm_spec_ = *spec;
      warm_spec_->code.clear();
    }
    StartCold(*spec, fds);
  }

  // The run as a fork of the interpreter that waits, if there is one.
  bool StartWarm(StartSpec& spec, Fd* fds) {
    if (!warm_.Serves(spec) || !warm_.Await()) return false;
    const pid_t pid = warm_.Launch(spec, {fds[0].get(), fds[1].get(), fds[2].get(), -1});
    if (pid < 0) return false;
    Begin(pid);
    // Should the fork not begin, it is run without one.
    warm_spec_ = std::move(spec);
    for (int i = 0; i < 3; ++i) warm_fds_[i] = std::move(fds[i]);
    warm_run_ = true;
    return true;
  }

  void WakeFork() {
    if (++begin_checks_ < kBeginChecks)
      kill(main_, SIGCONT);
    else
      kill(main_, SIGKILL);  // run without once it is reaped
  }

  void StartCold(StartSpec& spec_given, Fd* fds) {
    StartSpec* spec = &spec_given;
    if (!spec->code_name.empty()) {
      if (const int error = code_.Create(identity_, spec->code_name, spec->code)) {
        code_.Remove();
        return Answer({Stage::kCodeFile, error, 0});
      }
      spec->argv[spec->code_arg] = code_.path();
    }
    ChildStdio stdio{fds[0].get(), fds[1].get(), fds[2].get(), spec->task.empty() ? -1 : fds[3].get()};
    const SpawnResult child =
        spec->task.empty() ? SpawnProgram(*spec, identity_, stdio) : SpawnTask(*spec, identity_, stdio);
    if (child.pid < 0) {
      code_.Remove();
      return Answer({child.stage, child.error, 0});
    }
    Begin(child.pid);
  }

  void Begin(pid_t main) {
    main_ = main;
    warm_run_ = false;
    begin_checks_ = 0;
    busy_ = true;
    killing_ = group_killed_ = false;
    report_ = {};
    sweeper_.Forget();
  }

  // Not once it has ended: the number of a group whose leader is reaped may be another's.
  void Signal(std::string_view bytes) {
    int32_t signal;
    if (bytes.size() != sizeof signal || main_ <= 0 || killing_) return;
    std::memcpy(&signal, bytes.data(), sizeof signal);
    kill(-main_, signal);
  }

  void DrainSignals() {
    signalfd_siginfo info;
    while (read(kSignals, &info, sizeof info) > 0) {
    }
  }

  // Reaps; kills once that is asked for or the main process has ended; answers when nothing is left.
  void Advance() {
    if (warm_run_ && warm_fds_[0] && warm_.begun() == WarmInterpreter::Begun::kYes) {
      // Its own now; held open here they would hide that the code has closed them.
      for (Fd& fd : warm_fds_) fd.Reset();
      std::string().swap(warm_spec_->code);
    }
    if (main_ > 0 && !group_killed_) {
      // Looked at before it is reaped: until then no other group can have its number.
      siginfo_t info{};
      if (!killing_ && waitid(P_PID, static_cast<id_t>(main_), &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        killing_ = info.si_pid == main_;
      if (killing_) {
        // Most of a fork bomb in one call; the sweeps find who left the group.
        kill(-main_, SIGKILL);
        group_killed_ = true;
      }
    }
    for (;;) {
      int status;
      const pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
      if (pid > 0) {
        sweeper_.Reaped(pid);
        if (warm_.alive()) warm_.Receive();
        warm_.Reaped(pid);
        if (pid == main_) {
          if (warm_run_ && warm_.begun() != WarmInterpreter::Begun::kYes && !killing_by_order_)
            return NotBegun();
          report_.wait_status = status;
          main_ = -1;
          killing_ = true;
        }
        continue;
      }
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) return End();  // ECHILD
      break;
    }
    if (!killing_) return;
    const size_t left = sweeper_.Sweep(getpid(), [this](pid_t pid) { return warm_.Owns(pid); });
    if (left == 0 && main_ < 0) End();
  }

  void End() {
    if (warm_run_) warm_.Finish();
    busy_ = killing_ = killing_by_order_ = warm_run_ = false;
    for (Fd& fd : warm_fds_) fd.Reset();
    code_.Remove();
    report_.warm = warm_spec_ && warm_spec_->long_lived == 0 && warm_.hopeful() ? 1 : 0;
    Answer(report_);
  }

  // The fork ended before any of the code ran.
  void NotBegun() {
    main_ = -1;
    warm_.Finish();
    warm_run_ = false;
    busy_ = killing_ = false;
    if (warm_.begun() == WarmInterpreter::Begun::kNoFolder) {
      for (Fd& fd : warm_fds_) fd.Reset();
      return Answer({Stage::kCwd, warm_.folder_error(), 0, 1});
    }
    warm_.Drop();
    StartCold(*warm_spec_, warm_fds_);
    for (Fd& fd : warm_fds_) fd.Reset();
  }

  // Between commands: what has ended is reaped, an interpreter for the next run is seen to.
  void Rest() {
    if (closing_) warm_.Drop();
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0 || (pid < 0 && errno == EINTR)) {
      if (pid < 0) continue;
      sweeper_.Reaped(pid);
      warm_.Receive();
      warm_.Reaped(pid);
    }
    if (closing_ && pid < 0) _exit(0);
    if (closing_) sweeper_.Sweep(getpid());
    if (!closing_ && warm_spec_ && warm_spec_->long_lived == 0) warm_.Start(*warm_spec_);
  }

  void Answer(const Report& report) {
    if (closing_) return;
    if (send(kSocket, &report, sizeof report, MSG_NOSIGNAL) < 0 && errno != EPIPE) _exit(1);
  }

  const Identity& identity_;
  Sweeper sweeper_;
  CodeFile code_;
  WarmInterpreter warm_;
  std::optional<StartSpec> warm_spec_;  // of the last run, if it was of Python
  Fd warm_fds_[3];
  bool warm_run_ = false;
  int begin_checks_ = 0;
  Report report_;
  pid_t main_ = -1;
  bool busy_ = false;
  bool killing_ = false;
  bool killing_by_order_ = false;  // and not because the main process has ended
  bool group_killed_ = false;
  bool closing_ = false;
};

}  // namespace

void RunSupervisor(Fd socket, const Identity& identity) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "clara-command");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  // Signals of the agent's own (SIGTERM) end a supervisor only through its socket, in order.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // Whatever else the agent has open (hosts, other commands' pipes) is not for this process; closing it first
  // leaves room for the signals also where the agent has used its descriptors up.
  const int end = socket.Release();
  if (end == kSocket ? fcntl(kSocket, F_SETFD, FD_CLOEXEC) < 0 : dup3(end, kSocket, O_CLOEXEC) < 0) {
    Log("cannot start a supervisor: %s", strerror(errno));
    _exit(1);
  }
  if (syscall(SYS_close_range, kSocket + 1, ~0u, 0) < 0)
    for (int fd = kSocket + 1; fd < 65536; ++fd) close(fd);
  const int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals != kSignals) {
    Log("cannot start a supervisor: signals: %s", strerror(errno));
    _exit(1);
  }
  static Identity own;
  own = identity;
  static Supervisor supervisor(own);
  supervisor.Run();
}

}  // namespace csb::agent
