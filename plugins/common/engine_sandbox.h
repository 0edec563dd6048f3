// SPDX-License-Identifier: Apache-2.0
//
// engine_sandbox.h: a live sandbox of an engine (Docker, Incus) as this host process is attached to it: the
// agent's channel, over a socket in its control folder or over a stream of the engine, and what is known of
// its end.
//
//   auto sandbox = EngineSandbox::Listen(host, reactor, name, words, control, 0600);   // before it starts
//   … start, inspect …
//   (*sandbox)->Begin(live, nullptr, on_lost);
//   if (Status s = (*sandbox)->WaitReady(10s); !s) return s.error();
//   if (auto channel = (*sandbox)->channel()) RunOnAgent(host, channel, request, sink, (*sandbox)->Hook());
//
// Threads: all functions from any thread; WaitReady blocks. Handlers come on the reactor's thread.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/agent_channel.h"
#include "plugins/common/agent_operation.h"
#include "plugins/common/byte_stream.h"
#include "plugins/common/enforced.h"
#include "plugins/common/reactor.h"
#include "plugins/common/sandbox_limits.h"

namespace csb {

// What a sandbox is, once it runs.
struct Live {
  std::string user;
  std::string container;  // the engine's id of it
  std::string name;       // the engine's name of it
  std::string slot;
  ChannelKind channel = ChannelKind::kSocket;
  pid_t pid = 0;  // of the init, as the engine says; 0: told by is_init, and known once it is ready
  SandboxLimits limits;
  std::string image;
  std::string created_at;
  std::string image_id = {};  // that it was made of; "" when it was found running
  std::string member = {};    // of a cluster, where it runs; "" otherwise
};

// What messages call things, and what they tell an operator to do.
struct EngineWords {
  std::string kind;          // "container"
  std::string unpause;       // "docker unpause ": the name follows
  std::string oom_hint;      // after a kill for memory
  std::string channel_hint;  // when the agent does not answer
};

// Why this process is no longer attached.
enum class Loss {
  kEnded,   // the init is gone
  kClosed,  // the channel was cut; the container may live on
  kBroken,  // the agent hangs or broke the rules: code in the sandbox may have taken it over
};

class EngineSandbox {
 public:
  using OnLost = std::function<void(const std::shared_ptr<EngineSandbox>&, Loss)>;

  // Whether a process is the sandbox's init. Asked on any thread, of a process that is held so that its pid
  // means no other; must not block for long, nor call the sandbox.
  using IsInit = std::function<bool(pid_t)>;

  // The agent comes to a socket in the folder `control`. `is_init`: for an engine that is not asked for the
  // pid; the first peer of which it is true is let in.
  static Result<std::shared_ptr<EngineSandbox>> Listen(HostRef host, Reactor& reactor,
                                                       const std::string& name, const EngineWords& words,
                                                       const std::string& control, mode_t mode,
                                                       IsInit is_init = nullptr);
  // The agent is reached through a stream that Begin gets.
  static std::shared_ptr<EngineSandbox> ForStream(HostRef host, Reactor& reactor, const std::string& name,
                                                  const EngineWords& words);
  ~EngineSandbox();

  // Before Begin: how long a stream with work on it may say nothing until a sign of life is asked for, as
  // AgentChannel::Options::silence. What falls silent is kClosed.
  void set_silence(std::chrono::milliseconds silence);

  // From now on the agent is let in: the one behind `stream`, the one with live.pid, or with a pid of 0 the
  // one that is_init tells.
  // on_lost: at most once, also for a sandbox that never got ready.
  Status Begin(Live live, std::unique_ptr<ByteStream> stream, OnLost on_lost);
  // Blocks until the agent's HELLO, the end, or the limit.
  Status WaitReady(std::chrono::milliseconds limit);
  // For a stream from an engine of this machine: its init, if is_init is true of it, so that its end is seen
  // at once, and what a kill for memory took. Before anybody else has the sandbox.
  void SeeInit(pid_t pid, const IsInit& is_init);
  // Null unless the agent can be asked now.
  std::shared_ptr<AgentChannel> channel() const;
  bool over() const;  // lost, or let go

  const Live& live() const;  // after Begin
  // A pooled one gets its user when it is claimed; nobody else has seen it until then.
  void Claim(const std::string& user, const std::string& name, OnLost on_lost);
  void set_enforced(Enforced enforced);
  Enforced enforced() const;

  // Says "OOM killed" where the engine or the kernel saw one that took the whole sandbox.
  OutcomeHook Hook();
  // What the engine's events told.
  void NoteOom();
  bool SawOom() const;
  void SetPaused(bool paused);
  bool paused() const;
  // Whether it was lost for want of a sign of life (set_silence).
  bool FellSilent() const;
  // The engine says that it is gone (for streams, which see no process).
  void MarkEnded(const std::string& why);

  // Average use of a core between the last two calls, percent; 0 at first.
  double CpuPercent(uint64_t cpu_ns);

  // Kills the init at once, where it can be seen from here; false: it can't.
  bool Kill();
  // Lets go without harm: the container lives on. on_lost does not come.
  void Detach();

 private:
  struct Impl;
  explicit EngineSandbox(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb
