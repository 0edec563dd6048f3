// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "clara_sandbox/cpp/operations.h"
#include "plugins/common/agent_listener.h"
#include "plugins/common/agent_result.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/host_sockets.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxEarly = 4;  // connections that may wait until the init is known
constexpr char kOomHint[] =
    "raise BUBBLEWRAP_SANDBOX_MEMORY (bubblewrap.memory, or memory_limit of create), use less memory, or "
    "work in chunks";
constexpr char kStuck[] =
    "; files in /tmp or /dev/shm held it, so the sandbox was ended: the next call starts with both empty";

}  // namespace

struct Sandbox::Impl : std::enable_shared_from_this<Impl> {
  Impl(HostRef host, Reactor& reactor, std::string name)
      : host(host), reactor(reactor), name(std::move(name)) {}

  const HostRef host;
  Reactor& reactor;
  const std::string name;
  std::unique_ptr<AgentListener> listener;

  mutable std::mutex mutex;
  std::condition_variable changed;
  LiveRecord live;
  Pidfd init, monitor;
  OnEnd on_end;
  std::weak_ptr<Sandbox> self;
  std::atomic<bool> ending{false};  // asked to
  std::vector<UniqueFd> early;
  std::shared_ptr<AgentChannel> channel;
  bool begun = false, ready = false, over = false, detached = false;
  std::string why;
  Reactor::WatchId watch = 0;
  Enforced enforced;
  UniqueFd oom;
  uint64_t last_cpu_ns = 0;
  std::chrono::steady_clock::time_point last_cpu_at = std::chrono::steady_clock::now();

  bool Accept(const AgentPeer& peer) {
    const std::lock_guard lock(mutex);
    if (over || detached || channel != nullptr) return false;
    return begun ? peer.pid == live.init.pid : early.size() < kMaxEarly;
  }

  void OnConnect(UniqueFd fd) {
    const std::lock_guard lock(mutex);
    if (over || detached || channel != nullptr) return;
    if (!begun) {
      if (early.size() < kMaxEarly) early.push_back(std::move(fd));
      return;
    }
    Open(std::move(fd));
  }

  // With the lock held; handlers come later, on the reactor's thread.
  void Open(UniqueFd fd) {
    const auto me = shared_from_this();
    channel = AgentChannel::Create(reactor, std::move(fd), {.name = name},
                                   {.on_ready = [me](const AgentHello&) { me->OnReady(); },
                                    .on_end = [me](const Error& e) { me->OnLost(e); }});
  }

  void OnReady() {
    const std::lock_guard lock(mutex);
    ready = true;
    changed.notify_all();
  }

  void OnLost(const Error& error) {
    const std::lock_guard lock(mutex);
    ready = false;
    if (why.empty()) why = error.message;
    channel.reset();
    if (detached || over || ending) return;
    if (!init.Ended()) host.LogWarn("sandbox " + name + " is ended: " + error.message);
    Kill();
  }

  void Kill() {
    if (!init) return;
    if (Status s = init.Signal(SIGKILL); !s) host.LogError("sandbox " + name + ": " + s.error().message);
  }

  void OnInitEnd() {
    std::shared_ptr<AgentChannel> lost;
    std::shared_ptr<Sandbox> sandbox;
    OnEnd tell;
    {
      const std::lock_guard lock(mutex);
      reactor.Unwatch(watch);
      watch = 0;
      if (over) return;
      over = true;
      ready = false;
      lost = channel;
      sandbox = self.lock();
      tell = std::move(on_end);
      changed.notify_all();
    }
    if (lost)
      lost->End(
          {CSB_E_GONE, "the sandbox has ended", "call again: a new one is made, with the same files", true});
    if (tell && sandbox) tell(sandbox);
  }

  // The memory group's counter of killed processes; nullopt when there is none.
  std::optional<uint64_t> OomKills() const {
    if (!oom) return std::nullopt;
    char text[512];
    const ssize_t n = pread(oom.get(), text, sizeof text, 0);
    if (n <= 0) return std::nullopt;
    return ParseKeyed({text, static_cast<size_t>(n)}, "oom_kill");
  }

  // Temporary files outlive the command that made them. Where they, and not the killed process, hold the
  // memory, every later command would be killed too: nothing but a new sandbox, with its empty /tmp, helps.
  // True when it was ended for that.
  bool EndIfStuck() {
    const uint64_t limit = live.limits.memory;
    const std::lock_guard lock(mutex);
    if (!ready || over || detached || ending || channel == nullptr || channel->running() > 0) return false;
    // A kernel out of memory has given up its caches already: what is still there can't be had back.
    if (limit == 0 || live.cgroup.MemoryUsage() < limit / 4 * 3) return false;
    host.LogWarn("sandbox " + name + " is ended: its temporary files hold the memory");
    ending = true;
    ready = false;
    why = "its temporary files held the memory";
    Kill();
    return true;
  }

  void Amend(uint32_t op, uint64_t before, AgentOutcome& outcome) {
    const std::string limit = "the sandbox's memory limit is " + FormatSize(live.limits.memory);
    const bool gone = outcome.code == CSB_E_GONE;
    if (!gone) {
      if (outcome.code != CSB_OK || !RunsProgram(NameOfOperation(op))) return;
      const auto result = json::ParseObject(outcome.result);
      // 137: a shell that reports what it started was killed.
      if (!result || json::GetInt(*result, "exit_code").value_or(0) != 128 + SIGKILL) return;
      if (json::GetString(*result, "cause").value_or("") == "deadline") return;
    }
    const auto now = OomKills();
    if (!now || *now <= before) return;
    if (!gone) {
      const bool ended = EndIfStuck();
      return AmendToOom(outcome, ended ? limit + kStuck : limit, kOomHint);
    }
    outcome.message = "OOM killed: the whole sandbox was ended; " + limit;
    outcome.hint = kOomHint;
  }
};

Sandbox::Sandbox(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Sandbox::~Sandbox() { Detach(); }

Result<std::shared_ptr<Sandbox>> Sandbox::Listen(HostRef host, Reactor& reactor, const std::string& name,
                                                 const std::string& control, UidPair uids) {
  auto impl = std::make_shared<Impl>(host, reactor, name);
  const std::string path = NewHostSocket(control);
  const std::weak_ptr<Impl> weak = impl;
  auto listener = AgentListener::Create(
      reactor, path,
      [weak](const AgentPeer& peer) {
        const auto me = weak.lock();
        return me != nullptr && me->Accept(peer);
      },
      [weak](UniqueFd fd) {
        if (const auto me = weak.lock()) me->OnConnect(std::move(fd));
      });
  if (!listener) return listener.error();
  impl->listener = *std::move(listener);
  // Only the agent's uid may connect at all; code in the sandbox has another.
  if (uids.agent != 0 && lchown(path.c_str(), uids.agent, uids.agent) != 0) return ErrnoError("chown", path);
  if (chmod(path.c_str(), 0600) != 0) return ErrnoError("chmod", path);
  std::shared_ptr<Sandbox> sandbox(new Sandbox(impl));
  impl->self = sandbox;
  return sandbox;
}

Status Sandbox::Begin(LiveRecord live, Pidfd init, Pidfd monitor, OnEnd on_end) {
  Impl& i = *impl_;
  const std::lock_guard lock(i.mutex);
  i.live = std::move(live);
  i.init = std::move(init);
  i.monitor = std::move(monitor);
  i.on_end = std::move(on_end);
  i.begun = true;
  if (const std::string file = i.live.cgroup.OomFile(); !file.empty())
    i.oom.reset(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  auto watch = i.reactor.Watch(i.init.get(), EPOLLIN, [me = impl_](uint32_t) { me->OnInitEnd(); });
  if (!watch) return watch.error();
  i.watch = *watch;
  for (UniqueFd& fd : i.early)
    if (i.channel == nullptr && PeerPid(fd.get()) == i.live.init.pid) i.Open(std::move(fd));
  i.early.clear();
  return {};
}

Status Sandbox::WaitReady(milliseconds limit) {
  Impl& i = *impl_;
  std::unique_lock lock(i.mutex);
  i.changed.wait_for(lock, limit, [&] { return i.ready || i.over || i.detached; });
  if (i.ready) return {};
  if (i.over)
    return Error{CSB_E_UNAVAILABLE,
                 "the sandbox ended before its agent answered" + (i.why.empty() ? "" : ": " + i.why), "",
                 true};
  return Error{CSB_E_UNAVAILABLE,
               "the sandbox's agent did not answer within " + std::to_string(limit.count()) + " ms",
               "the machine may be overloaded; try again", true};
}

std::shared_ptr<AgentChannel> Sandbox::channel() const {
  const std::lock_guard lock(impl_->mutex);
  // A channel tells its streams of its end before it tells us.
  return impl_->ready && impl_->channel != nullptr && impl_->channel->ready() ? impl_->channel : nullptr;
}

bool Sandbox::ended() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->over || (impl_->begun && impl_->init.Ended());
}

const std::string& Sandbox::name() const { return impl_->name; }
const LiveRecord& Sandbox::live() const { return impl_->live; }
const Pidfd& Sandbox::init() const { return impl_->init; }
const Pidfd& Sandbox::monitor() const { return impl_->monitor; }

void Sandbox::set_enforced(Enforced enforced) {
  const std::lock_guard lock(impl_->mutex);
  impl_->enforced = std::move(enforced);
}

Enforced Sandbox::enforced() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->enforced;
}

OutcomeHook Sandbox::OomHook() {
  const auto before = impl_->OomKills();
  if (!before) return {};
  return
      [me = impl_, before = *before](uint32_t op, AgentOutcome& outcome) { me->Amend(op, before, outcome); };
}

double Sandbox::CpuPercent() {
  const auto used = impl_->live.cgroup.CpuTimeNs();
  if (!used) return 0;
  const std::lock_guard lock(impl_->mutex);
  const auto now = std::chrono::steady_clock::now();
  const double passed = std::chrono::duration<double, std::nano>(now - impl_->last_cpu_at).count();
  const double percent =
      passed > 0 ? 100.0 * static_cast<double>(*used - std::min(*used, impl_->last_cpu_ns)) / passed : 0;
  impl_->last_cpu_ns = *used;
  impl_->last_cpu_at = now;
  return percent;
}

void Sandbox::End(milliseconds grace) {
  impl_->ending = true;  // the agent lets go of the channel a moment before it is gone
  if (const auto channel = this->channel()) {
    channel->Shutdown();
    if (WaitEnd(impl_->init, grace)) return;
  }
  impl_->Kill();
  WaitEnd(impl_->init, milliseconds(10'000));
}

void Sandbox::Detach() {
  std::shared_ptr<AgentChannel> channel;
  Reactor::WatchId watch = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->detached) return;
    impl_->detached = true;
    impl_->on_end = nullptr;
    channel = impl_->channel;
    std::swap(watch, impl_->watch);
    impl_->early.clear();
    impl_->changed.notify_all();
  }
  if (watch != 0) impl_->reactor.Unwatch(watch);
  impl_->listener.reset();
  if (channel) channel->End({CSB_E_GONE, "the host process lets go of the sandbox", "", true});
}

}  // namespace csb::bwrap
