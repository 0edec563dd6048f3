// SPDX-License-Identifier: Apache-2.0
#include "agent/process/pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/base/log.h"
#include "agent/process/supervisor.h"

namespace csb::agent {
namespace {

constexpr size_t kKeepIdle = 2;
constexpr int64_t kIdleTime = 5 * kSecond;
// As many runs of Python as may begin at once without the start of an interpreter.
constexpr size_t kKeepWarm = 2;
// A supervisor that does not answer is stopped or starved: the agent then kills in its place, and last the
// supervisor itself.
constexpr int64_t kKillCheck = 40 * kMs;
constexpr int kKillChecks = 25;

Error OutOfProcesses(const char* what, int error) {
  if (error == EMFILE || error == ENFILE)
    return {CSB_E_NO_CAPACITY, std::string(what) + ": file descriptors exhausted in the sandbox",
            "end some of the running commands", true};
  if (error == EAGAIN || error == ENOMEM)
    return {CSB_E_NO_CAPACITY,
            std::string(what) + (error == EAGAIN ? ": processes exhausted" : ": memory exhausted") +
                " in the sandbox",
            "end background processes, or raise the sandbox's limits", true};
  return {CSB_E_INTERNAL, std::string(what) + ": " + strerror(error), "", false};
}

}  // namespace

class SupervisorPool::Job {
 public:
  Job(SupervisorPool& pool, pid_t process, Fd end)
      : pid(process),
        socket(std::move(end)),
        overdue(pool.loop_, [&pool, this] { pool.OnKillOverdue(this); }) {}
  pid_t pid;
  Fd socket;
  Watch watch;
  JobClient* client = nullptr;  // null: idle or being discarded
  Timer overdue;
  int checks = 0;
  bool killing = false;
  Sweeper sweeper;
};

SupervisorPool::SupervisorPool(Loop& loop, const Identity& identity, int64_t warm_time_ns)
    : loop_(loop),
      identity_(identity),
      warm_time_ns_(warm_time_ns),
      idle_timer_(loop,
                  [this] {
                    for (Job* job : idle_) Discard(job);
                    idle_.clear();
                  }),
      warm_timer_(loop,
                  [this] {
                    for (Job* job : warm_) Discard(job);
                    warm_.clear();
                  }),
      orphan_timer_(loop, [this] {
        orphans_.Forget();
        SweepOrphans();
      }) {}

SupervisorPool::~SupervisorPool() = default;

Result<SupervisorPool::Job*> SupervisorPool::Spawn() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return OutOfProcesses("cannot start a command", errno);
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return OutOfProcesses("cannot start a command", errno);
  if (pid == 0) RunSupervisor(std::move(theirs), identity_);
  auto owned = std::make_unique<Job>(*this, pid, std::move(ours));
  Job* job = owned.get();
  jobs_.emplace(pid, std::move(owned));
  // Nonblocking on this end only: a supervisor that is stopped must not stop the agent.
  const int flags = fcntl(job->socket.get(), F_GETFL);
  if (fcntl(job->socket.get(), F_SETFL, flags | O_NONBLOCK) < 0 ||
      !job->watch.Start(loop_, job->socket.get(), EPOLLIN, [this, job](uint32_t) { OnSocket(job); })) {
    const int error = errno;
    Discard(job);
    return OutOfProcesses("cannot watch a command", error);
  }
  return job;
}

bool SupervisorPool::Send(Job* job, std::string_view bytes, const std::vector<int>& fds) {
  Order order = Order::kStart;
  std::vector<int> passed = fds;
  Fd file;
  if (bytes.size() > kInlineSpec) {
    order = Order::kStartFromFile;
    file.Reset(memfd_create("spec", MFD_CLOEXEC));
    if (!file) return false;
    for (std::string_view rest = bytes; !rest.empty();) {
      const ssize_t n = write(file.get(), rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      rest.remove_prefix(static_cast<size_t>(n));
    }
    passed.push_back(file.get());
    bytes = {};
  }
  iovec io[2] = {{&order, sizeof order}, {const_cast<char*>(bytes.data()), bytes.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)]{};
  msghdr message{};
  message.msg_iov = io;
  message.msg_iovlen = 2;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * passed.size());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * passed.size());
  std::memcpy(CMSG_DATA(header), passed.data(), sizeof(int) * passed.size());
  return sendmsg(job->socket.get(), &message, MSG_NOSIGNAL) >= 0;
}

Result<SupervisorPool::Job*> SupervisorPool::Start(const StartSpec& spec, const std::vector<int>& fds,
                                                   JobClient& client) {
  const std::string bytes = spec.Serialize();
  for (;;) {
    Job* job = nullptr;
    auto& waiting = spec.warm_env.empty() || warm_.empty() ? idle_ : warm_;
    const bool fresh = waiting.empty();
    if (fresh) {
      auto spawned = Spawn();
      if (!spawned) return spawned.error();
      job = *spawned;
    } else {
      job = waiting.back();
      waiting.pop_back();
    }
    if (Send(job, bytes, fds)) {
      job->client = &client;
      ++busy_;
      return job;
    }
    const int error = errno;
    Discard(job);
    // An idle supervisor may have been killed meanwhile; a fresh one has no excuse.
    if (fresh) return OutOfProcesses("cannot start a command", error);
  }
}

void SupervisorPool::Kill(Job* job) {
  if (job->killing) return;
  job->killing = true;
  job->checks = 0;
  job->sweeper.Forget();
  const Order order = Order::kKill;
  if (send(job->socket.get(), &order, sizeof order, MSG_NOSIGNAL) < 0 && errno != EPIPE)
    Log("cannot tell supervisor %d to kill: %s", static_cast<int>(job->pid), strerror(errno));
  job->overdue.Arm(NowNs() + kKillCheck);
}

void SupervisorPool::Signal(Job* job, int signal) {
  const struct {
    Order order = Order::kSignal;
    int32_t signal;
  } message{Order::kSignal, signal};
  static_assert(sizeof message == sizeof(Order) + sizeof(int32_t));
  if (send(job->socket.get(), &message, sizeof message, MSG_NOSIGNAL) < 0 && errno != EPIPE)
    Log("cannot tell supervisor %d to send a signal: %s", static_cast<int>(job->pid), strerror(errno));
}

void SupervisorPool::OnKillOverdue(Job* job) {
  if (++job->checks >= kKillChecks) {
    Log("supervisor %d does not answer, killing it", static_cast<int>(job->pid));
    kill(job->pid, SIGKILL);
    return;
  }
  kill(job->pid, SIGCONT);
  job->sweeper.Forget();
  job->sweeper.Sweep(job->pid);
  job->overdue.Arm(NowNs() + kKillCheck);
}

void SupervisorPool::OnSocket(Job* job) {
  Report report;
  const ssize_t n = recv(job->socket.get(), &report, sizeof report, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n != static_cast<ssize_t>(sizeof report)) {
    // End of file: the supervisor is dead or dying; Reap does the rest.
    job->watch.Stop();
    return;
  }
  if (job->client == nullptr) return;
  JobClient* client = std::exchange(job->client, nullptr);
  --busy_;
  job->overdue.Cancel();
  job->killing = false;
  Rest(job, report.warm != 0);
  client->OnReport(report);
}

void SupervisorPool::Rest(Job* job, bool warm) {
  if (warm && warm_.size() < kKeepWarm) {
    warm_.push_back(job);
    warm_timer_.Arm(NowNs() + warm_time_ns_);
  } else if (!warm && idle_.size() < kKeepIdle) {
    idle_.push_back(job);
    idle_timer_.Arm(NowNs() + kIdleTime);
  } else {
    Discard(job);
  }
}

void SupervisorPool::Discard(Job* job) {
  // The supervisor exits on end of file and is forgotten once it is reaped.
  job->watch.Stop();
  job->socket.Reset();
}

void SupervisorPool::ReleaseIdle() {
  idle_timer_.Cancel();
  warm_timer_.Cancel();
  for (auto* list : {&idle_, &warm_}) {
    for (Job* job : *list) Discard(job);
    list->clear();
  }
}

void SupervisorPool::Warm() {
  if (!idle_.empty()) return;
  auto spawned = Spawn();
  if (!spawned) return;
  idle_.push_back(*spawned);
  idle_timer_.Arm(NowNs() + kIdleTime);
}

void SupervisorPool::Reap() {
  for (;;) {
    int status;
    const pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) break;
    const auto it = jobs_.find(pid);
    if (WIFSTOPPED(status)) {
      // Only code of the same uid can stop a supervisor, to outlive its deadline: its command ends now.
      if (it != jobs_.end()) kill(pid, SIGKILL);
      continue;
    }
    orphans_.Reaped(pid);
    if (it != jobs_.end()) OnSupervisorDied(it->second.get());
  }
  if (!lost_.empty()) SweepOrphans();
}

void SupervisorPool::OnSupervisorDied(Job* job) {
  // It may have answered before it died.
  if (job->client != nullptr && job->socket) OnSocket(job);
  std::erase(idle_, job);
  std::erase(warm_, job);
  if (job->client != nullptr) {
    --busy_;
    lost_.push_back(job->client);
    Log("supervisor %d was killed by code of the same user id; ending its command",
        static_cast<int>(job->pid));
  }
  jobs_.erase(job->pid);
}

void SupervisorPool::SweepOrphans() {
  // A process reaches the agent alive only after its supervisor died, so all that are no supervisors go.
  const size_t left = orphans_.Sweep(getpid(), [this](pid_t pid) { return jobs_.find(pid) != jobs_.end(); });
  if (left > 0) {
    orphan_timer_.Arm(NowNs() + 10 * kMs);
    return;
  }
  orphan_timer_.Cancel();
  orphans_.Forget();
  std::vector<JobClient*> lost;
  lost.swap(lost_);
  for (JobClient* client : lost) client->OnSupervisorLost();
}

}  // namespace csb::agent
