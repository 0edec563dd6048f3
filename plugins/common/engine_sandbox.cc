// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/engine_sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "plugins/common/agent_listener.h"
#include "plugins/common/agent_result.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/host_cgroup.h"
#include "plugins/common/host_sockets.h"
#include "plugins/common/limit_text.h"
#include "plugins/common/pidfd.h"
#include "plugins/common/small_file.h"

namespace csb {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// The kernel counts a kill right after it has told that there is no memory.
constexpr milliseconds kCounted{20};
constexpr size_t kMaxEarly = 4;  // connections that may wait until the init is known
constexpr char kStuck[] =
    "; files in /tmp or /dev/shm held it, so the sandbox was ended: the next call starts with both empty";

}  // namespace

struct EngineSandbox::Impl : std::enable_shared_from_this<Impl> {
  Impl(HostRef host, Reactor& reactor, std::string name, EngineWords words, IsInit is_init)
      : host(host),
        reactor(reactor),
        name(std::move(name)),
        words(std::move(words)),
        is_init(std::move(is_init)) {}

  // A connection from before the init was known.
  struct Early {
    UniqueFd fd;
    pid_t pid = 0;
    Pidfd process;  // where is_init will be asked of it
  };

  const HostRef host;
  Reactor& reactor;
  const std::string name;
  const EngineWords words;
  const IsInit is_init;  // may be empty
  std::unique_ptr<AgentListener> listener;

  mutable std::mutex mutex;
  std::condition_variable changed;
  Live live;
  Pidfd init;
  Reactor::WatchId watch = 0, oom_watch = 0;
  std::unique_ptr<ByteStream> stream;
  OnLost on_lost;
  std::weak_ptr<EngineSandbox> self;
  std::vector<Early> early;
  std::shared_ptr<AgentChannel> channel;
  bool begun = false, ready = false, over = false, paused = false;
  milliseconds silence{0};
  std::string why;
  Enforced enforced;
  UniqueFd oom, oom_event, memory_use;
  mutable std::atomic<uint64_t> oom_known{0};  // as it was read last: with its group the counter goes
  std::atomic<uint64_t> oom_told{0};           // of them, those that an outcome has told of
  std::atomic<bool> oom_seen{false};
  std::atomic<bool> ended_by_engine{false};  // it said so
  uint64_t last_cpu_ns = 0;
  Clock::time_point last_cpu_at = Clock::now();

  bool Accept(const AgentPeer& peer) {
    const std::lock_guard lock(mutex);
    if (over || channel != nullptr) return false;
    if (!begun) return early.size() < kMaxEarly;
    if (live.pid > 0 || !is_init) return peer.pid > 0 && peer.pid == live.pid;
    auto process = Pidfd::Open(peer.pid);
    if (!process || !IsTheInit(peer.pid, *process)) return false;
    const Status taken = TakeInit(peer.pid, *std::move(process));
    if (!taken) host.LogWarn("sandbox " + name + " can't be watched: " + taken.error().message);
    return taken.ok();
  }

  void OnConnect(UniqueFd fd) {
    const std::lock_guard lock(mutex);
    if (over || channel != nullptr) return;
    if (begun) return Open(std::move(fd));
    if (early.size() >= kMaxEarly) return;
    Early one{std::move(fd), 0, {}};
    one.pid = PeerPid(one.fd.get());
    if (is_init) {
      auto process = Pidfd::Open(one.pid);
      if (!process) return;
      one.process = *std::move(process);
    }
    early.push_back(std::move(one));
  }

  // With the lock held. A process that has ended meanwhile may have left its pid to the one asked about.
  bool IsTheInit(pid_t pid, const Pidfd& process) const { return is_init(pid) && !process.Ended(); }

  // With the lock held: what shows the init's end, and why.
  Status TakeInit(pid_t pid, Pidfd process) {
    if (const std::string file = OomFileOf(pid); !file.empty()) {
      oom.reset(open(file.c_str(), O_RDONLY | O_CLOEXEC));
      oom_event = OomEventOf(file, oom.get());
      oom_told = OomKills();
      WatchOom();
    }
    if (const std::string file = MemoryUseFileOf(pid); !file.empty())
      memory_use.reset(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    auto watched = reactor.Watch(process.get(), EPOLLIN, [me = shared_from_this()](uint32_t) {
      me->Lose(Loss::kEnded, "the sandbox has ended");
    });
    if (!watched) return watched.error();
    watch = *watched;
    init = std::move(process);
    live.pid = pid;
    return {};
  }

  // With the lock held. A kill that ends the sandbox soon has the engine remove the group, and its counter.
  void WatchOom() {
    if (!oom) return;
    const int fd = oom_event ? oom_event.get() : oom.get();
    auto watched =
        reactor.Watch(fd, oom_event ? EPOLLIN : EPOLLPRI | EPOLLET, [me = shared_from_this()](uint32_t) {
          uint64_t times = 0;
          if (me->oom_event && read(me->oom_event.get(), &times, sizeof times) < 0) return;
          me->OomKills();
          if (!me->oom_event) return;
          me->reactor.At(Clock::now() + kCounted, [weak = std::weak_ptr<Impl>(me)] {
            if (const auto that = weak.lock()) that->OomKills();
          });
        });
    if (watched) oom_watch = *watched;
  }

  // With the lock held; handlers come later, on the reactor's thread.
  void Open(UniqueFd fd) {
    const auto me = shared_from_this();
    channel = AgentChannel::Create(reactor, std::move(fd), {.name = name, .silence = silence},
                                   {.on_ready = [me](const AgentHello&) { me->OnReady(); },
                                    .on_end = [me](const Error& e) { me->OnEnd(e); }});
  }

  void OnReady() {
    const std::lock_guard lock(mutex);
    ready = !over;
    changed.notify_all();
  }

  // The channel's end. For a local init that has just died its pidfd tells the same.
  void OnEnd(const Error& error) {
    const bool dead = init && init.Ended(), cut = error.code == CSB_E_GONE || fell_silent() || paused_now();
    if (!dead && !cut) host.LogWarn("sandbox " + name + " is ended: " + error.message);
    Lose(dead ? Loss::kEnded : cut ? Loss::kClosed : Loss::kBroken, error.message);
  }

  bool fell_silent() const {
    const std::lock_guard lock(mutex);
    return channel != nullptr && channel->silent();
  }

  bool paused_now() const {
    const std::lock_guard lock(mutex);
    return paused;
  }

  void Lose(Loss loss, const std::string& reason) {
    std::shared_ptr<AgentChannel> lost;
    std::shared_ptr<EngineSandbox> sandbox;
    OnLost tell;
    {
      const std::lock_guard lock(mutex);
      if (over) return;
      over = true;
      ready = false;
      if (why.empty()) why = stream && !stream->Complaints().empty() ? stream->Complaints() : reason;
      for (auto* const each : {&watch, &oom_watch})
        if (*each != 0) reactor.Unwatch(std::exchange(*each, 0));
      lost = channel;
      sandbox = self.lock();
      tell = std::move(on_lost);
      changed.notify_all();
    }
    if (lost && loss == Loss::kEnded)
      lost->End(
          {CSB_E_GONE, "the sandbox has ended", "call again: a new one is made, with the same files", true});
    if (tell && sandbox) tell(sandbox, loss);
  }

  // The memory group's counter of killed processes; 0 when it can't be seen.
  uint64_t OomKills() const {
    if (!oom) return 0;
    char text[512];
    const ssize_t n = pread(oom.get(), text, sizeof text, 0);
    if (n <= 0) return oom_known;
    const uint64_t kills = ParseKeyed({text, static_cast<size_t>(n)}, "oom_kill").value_or(0);
    if (kills > oom_known) oom_known = kills;
    return kills;
  }

  // Temporary files outlive the command that made them. Where they, and not the killed process, hold the
  // memory, every later command would be killed too: only a new sandbox, with its empty /tmp, helps.
  // `told`: bytes in use as the agent says, where this machine does not see them; 0: it does not either.
  bool EndIfStuck(uint64_t told) {
    char text[64];
    const ssize_t n = memory_use ? pread(memory_use.get(), text, sizeof text, 0) : -1;
    const uint64_t used = n > 0 ? ParseCount({text, static_cast<size_t>(n)}).value_or(0) : told;
    const std::lock_guard lock(mutex);
    const uint64_t limit = live.limits.memory;
    // A kernel out of memory has given up its caches already: what is still there can't be had back.
    if (used == 0 || limit == 0 || used < limit / 4 * 3) return false;
    if (!ready || over || channel == nullptr || channel->running() > 0) return false;
    host.LogWarn("sandbox " + name + " is ended: its temporary files hold the memory");
    ready = false;
    if (!init)
      channel->Shutdown();
    else if (Status s = init.Signal(SIGKILL); !s)
      host.LogError("sandbox " + name + ": " + s.error().message);
    return true;
  }

  std::string Name() const {
    const std::lock_guard lock(mutex);
    return live.name;
  }

  // Whether the last kill for memory has been told by nobody: it took the agent.
  bool OomTook(uint64_t before) const {
    return oom ? OomKills() > std::max(before, oom_told.load()) : oom_seen.load();
  }

  void Amend(uint64_t before, AgentOutcome& outcome) {
    if (outcome.code != CSB_OK && paused_now()) {
      const std::string container = Name();
      outcome.message = "the " + words.kind + " " + container +
                        " is paused: " + outcome.message.substr(0, outcome.message.find(", and "));
      outcome.hint = words.unpause + container + "; what runs in it goes on then";
      return;
    }
    if (outcome.code == CSB_OK) {
      // The agent tells by itself, as it sees the counter too; what to raise is ours to say.
      if (outcome.result.find("OOM killed") == std::string::npos) return;
      oom_told = OomKills();
      const std::string limit = "the sandbox's memory limit is " + FormatSize(live.limits.memory);
      const auto result = json::ParseObject(outcome.result);
      const json::Value* held = result ? json::Find(*result, "memory_used") : nullptr;
      const uint64_t told = held != nullptr && held->IsUint64() ? held->GetUint64() : 0;
      return AmendToOom(outcome, EndIfStuck(told) ? limit + kStuck : limit, words.oom_hint);
    }
    if (outcome.code != CSB_E_GONE) return;
    if (!OomTook(before)) {
      if (live.channel != ChannelKind::kExec || ended_by_engine || (init && init.Ended())) return;
      // A stream's end tells nothing of the sandbox's: the engine may have been restarted.
      if (fell_silent()) {
        outcome.message = "nothing is heard of the sandbox any more" +
                          (live.member.empty() ? "" : " (member " + live.member + " of the cluster)");
        outcome.hint = "call again: it is reached anew once it answers; what ran in it may go on";
      } else {
        outcome.message = "the stream to the sandbox was cut: it ended, or its engine was restarted";
        outcome.hint = "call again: the sandbox is reached anew, or a new one is made with the same files";
      }
      return;
    }
    outcome.message =
        "OOM killed: the whole sandbox was ended and is started again; the sandbox's memory limit is " +
        FormatSize(live.limits.memory);
    outcome.hint = words.oom_hint;
  }
};

EngineSandbox::EngineSandbox(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
EngineSandbox::~EngineSandbox() { Detach(); }

Result<std::shared_ptr<EngineSandbox>> EngineSandbox::Listen(HostRef host, Reactor& reactor,
                                                             const std::string& name,
                                                             const EngineWords& words,
                                                             const std::string& control, mode_t mode,
                                                             IsInit is_init) {
  auto impl = std::make_shared<Impl>(host, reactor, name, words, std::move(is_init));
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
  if (chmod(path.c_str(), mode) != 0) return ErrnoError("chmod", path);
  std::shared_ptr<EngineSandbox> sandbox(new EngineSandbox(impl));
  impl->self = sandbox;
  return sandbox;
}

std::shared_ptr<EngineSandbox> EngineSandbox::ForStream(HostRef host, Reactor& reactor,
                                                        const std::string& name, const EngineWords& words) {
  auto impl = std::make_shared<Impl>(host, reactor, name, words, nullptr);
  std::shared_ptr<EngineSandbox> sandbox(new EngineSandbox(impl));
  impl->self = sandbox;
  return sandbox;
}

void EngineSandbox::set_silence(milliseconds silence) {
  const std::lock_guard lock(impl_->mutex);
  impl_->silence = silence;
}

Status EngineSandbox::Begin(Live live, std::unique_ptr<ByteStream> stream, OnLost on_lost) {
  Impl& i = *impl_;
  const std::lock_guard lock(i.mutex);
  i.live = std::move(live);
  i.on_lost = std::move(on_lost);
  i.begun = true;
  if (stream) {
    i.stream = std::move(stream);
    i.Open(i.stream->TakeSocket());
    return {};
  }
  auto early = std::exchange(i.early, {});
  if (i.live.pid > 0 || !i.is_init) {
    auto init = Pidfd::Open(i.live.pid);
    if (!init) return Error{CSB_E_UNAVAILABLE, "the " + i.words.kind + " ended at once", "", true};
    if (Status s = i.TakeInit(i.live.pid, *std::move(init)); !s) return s;
  }
  for (Impl::Early& one : early) {
    if (i.channel != nullptr) break;
    if (i.live.pid == 0 && i.IsTheInit(one.pid, one.process))
      if (Status s = i.TakeInit(one.pid, std::move(one.process)); !s) return s;
    if (one.pid > 0 && one.pid == i.live.pid) i.Open(std::move(one.fd));
  }
  return {};
}

Status EngineSandbox::WaitReady(milliseconds limit) {
  Impl& i = *impl_;
  std::unique_lock lock(i.mutex);
  i.changed.wait_for(lock, limit, [&] { return i.ready || i.over; });
  if (i.ready) return {};
  if (i.over)
    return Error{CSB_E_UNAVAILABLE,
                 "the sandbox ended before its agent answered" + (i.why.empty() ? "" : ": " + i.why), "",
                 true};
  return Error{
      CSB_E_UNAVAILABLE,
      "the agent of sandbox " + i.name + " did not answer within " + std::to_string(limit.count()) + " ms",
      i.words.channel_hint, true};
}

void EngineSandbox::SeeInit(pid_t pid, const IsInit& is_init) {
  Impl& i = *impl_;
  auto process = Pidfd::Open(pid);
  if (!process || !is_init(pid) || process->Ended()) return;
  const std::lock_guard lock(i.mutex);
  if (i.over || i.init) return;
  if (Status s = i.TakeInit(pid, *std::move(process)); !s)
    i.host.LogWarn("sandbox " + i.name + " can't be watched: " + s.error().message);
}

std::shared_ptr<AgentChannel> EngineSandbox::channel() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->ready && !impl_->paused && impl_->channel != nullptr && impl_->channel->ready()
             ? impl_->channel
             : nullptr;
}

bool EngineSandbox::over() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->over;
}

const Live& EngineSandbox::live() const { return impl_->live; }

void EngineSandbox::Claim(const std::string& user, const std::string& name, OnLost on_lost) {
  const std::lock_guard lock(impl_->mutex);
  impl_->on_lost = std::move(on_lost);
  impl_->live.user = user;
  impl_->live.name = name;
}

void EngineSandbox::set_enforced(Enforced enforced) {
  const std::lock_guard lock(impl_->mutex);
  impl_->enforced = std::move(enforced);
}

Enforced EngineSandbox::enforced() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->enforced;
}

OutcomeHook EngineSandbox::Hook() {
  return [me = impl_, before = impl_->OomKills()](uint32_t, AgentOutcome& outcome) {
    me->Amend(before, outcome);
  };
}

void EngineSandbox::NoteOom() { impl_->oom_seen = true; }

bool EngineSandbox::SawOom() const { return impl_->OomTook(0); }

void EngineSandbox::SetPaused(bool paused) {
  const std::lock_guard lock(impl_->mutex);
  impl_->paused = paused;
}

bool EngineSandbox::paused() const { return impl_->paused_now(); }

bool EngineSandbox::FellSilent() const { return impl_->fell_silent(); }

void EngineSandbox::MarkEnded(const std::string& why) {
  impl_->ended_by_engine = true;
  impl_->reactor.Post([me = impl_, why] { me->Lose(Loss::kEnded, why); });
}

double EngineSandbox::CpuPercent(uint64_t cpu_ns) {
  const std::lock_guard lock(impl_->mutex);
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double, std::nano>(now - impl_->last_cpu_at).count();
  const bool first = impl_->last_cpu_ns == 0;
  const double percent =
      passed > 0 && !first
          ? 100.0 * static_cast<double>(cpu_ns - std::min(cpu_ns, impl_->last_cpu_ns)) / passed
          : 0;
  impl_->last_cpu_ns = cpu_ns;
  impl_->last_cpu_at = now;
  return percent;
}

bool EngineSandbox::Kill() {
  const std::lock_guard lock(impl_->mutex);
  // An engine that names this process itself is no engine to obey.
  return impl_->init && impl_->live.pid != getpid() && impl_->init.Signal(SIGKILL).ok();
}

void EngineSandbox::Detach() {
  // Taken under the lock: two threads may let go at once.
  std::shared_ptr<AgentChannel> channel;
  std::unique_ptr<AgentListener> listener;
  std::unique_ptr<ByteStream> stream;
  Reactor::WatchId watch = 0, oom_watch = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->over = true;
    impl_->ready = false;
    impl_->on_lost = nullptr;
    channel = impl_->channel;
    listener = std::move(impl_->listener);
    stream = std::move(impl_->stream);
    std::swap(watch, impl_->watch);
    std::swap(oom_watch, impl_->oom_watch);
    impl_->early.clear();
    impl_->changed.notify_all();
  }
  for (const auto each : {watch, oom_watch})
    if (each != 0) impl_->reactor.Unwatch(each);
  listener.reset();
  if (channel) channel->End({CSB_E_GONE, "the host process lets go of the sandbox", "", true});
}

}  // namespace csb
