// SPDX-License-Identifier: Apache-2.0
//
// sandbox.h: a live sandbox as this host process is attached to it: a socket in its control folder,
// the agent's channel, and an eye on its init.
//
//   auto sandbox = Sandbox::Listen(surroundings, "alice-2bd8…", paths.control(), uids);
//   … launch …
//   (*sandbox)->Begin(live, std::move(init), std::move(monitor));
//   if (Status s = (*sandbox)->WaitReady(10s); !s) return s.error();
//   if (auto channel = (*sandbox)->channel()) RunOnAgent(host, channel, request, sink,
//   (*sandbox)->OomHook());
//
// Threads: all functions from any thread; those that wait say so. The channel is served by the reactor's.
// A channel that breaks its rules, or hangs, ends the sandbox: code in it may have taken the agent over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/bubblewrap/enforced.h"
#include "plugins/bubblewrap/record.h"
#include "plugins/common/agent_channel.h"
#include "plugins/common/agent_operation.h"
#include "plugins/common/pidfd.h"
#include "plugins/common/reactor.h"

namespace csb::bwrap {

class Sandbox {
 public:
  // Called once, on the reactor's thread, when the init has ended.
  using OnEnd = std::function<void(const std::shared_ptr<Sandbox>&)>;

  // Opens the socket that the agent comes to. `uids` as recorded; 0: the host's own.
  static Result<std::shared_ptr<Sandbox>> Listen(HostRef host, Reactor& reactor, const std::string& name,
                                                 const std::string& control, UidPair uids);
  ~Sandbox();

  // From now on the init is known: its connection is accepted, its end is watched.
  Status Begin(LiveRecord live, Pidfd init, Pidfd monitor, OnEnd on_end);
  // Blocks until the agent's HELLO, the sandbox's end, or the limit.
  Status WaitReady(std::chrono::milliseconds limit);
  // Null unless the agent can be asked now.
  std::shared_ptr<AgentChannel> channel() const;
  bool ended() const;

  const std::string& name() const;
  const LiveRecord& live() const;  // after Begin
  const Pidfd& init() const;
  const Pidfd& monitor() const;
  // Read back once, when it became ready; by the worker that waited.
  void set_enforced(Enforced enforced);
  Enforced enforced() const;

  // Turns a SIGKILL into "OOM killed" when the memory group counted one while the operation ran.
  OutcomeHook OomHook();
  // Average use of a core since the last call, percent; at first since the sandbox began.
  double CpuPercent();

  // Asks the agent to end everything, then kills: blocks until the init is gone (at most `grace` for
  // the asking). Anyone's sandbox may be ended so, attached or not.
  void End(std::chrono::milliseconds grace);
  // Lets go without harm: the sandbox lives on.
  void Detach();

 private:
  struct Impl;
  explicit Sandbox(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::bwrap
