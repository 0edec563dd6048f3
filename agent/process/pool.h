// SPDX-License-Identifier: Apache-2.0
//
// pool.h: the agent's side of its supervisors (supervisor.h): one per running command, a few idle
// ones kept for the next for some seconds, since a fork on the way of a request would cost more than the
// message that replaces it.
//
//   SupervisorPool pool(loop, identity);
//   auto job = pool.Start(spec, {std::move(in), std::move(out), std::move(err)}, client);
//   if (!job) return job.error();
//   pool.Kill(*job);                    // client.OnReport follows
//
// Also the reaper: as init, or as a subreaper, the agent inherits every orphan.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/process/lineage.h"
#include "agent/process/spawn.h"
#include "agent/process/spec.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

class JobClient {
 public:
  virtual ~JobClient() = default;
  // Exactly one of the two, once: every process of the command is gone.
  virtual void OnReport(const Report& report) = 0;
  // The supervisor itself was killed, which only code of the same uid can do.
  virtual void OnSupervisorLost() = 0;
};

class SupervisorPool {
 public:
  class Job;

  // `warm_time_ns`: how long interpreters are kept after the last run; 0: none are.
  SupervisorPool(Loop& loop, const Identity& identity, int64_t warm_time_ns = 0);
  ~SupervisorPool();

  // `fds`: stdin, stdout, stderr and, for a task, the result pipe; copies stay with the caller, who closes
  // them. The job is valid until the client's callback.
  Result<Job*> Start(const StartSpec& spec, const std::vector<int>& fds, JobClient& client);
  // Everything of the command dies; idempotent.
  void Kill(Job* job);
  // To the command's main process and its process group; nothing once that has ended.
  void Signal(Job* job, int signal);
  // SIGCHLD came.
  void Reap();
  // Forks a supervisor ahead of the first command; failure is left for that command to report.
  void Warm();
  // Ends the idle supervisors now, those with an interpreter too.
  void ReleaseIdle();
  size_t busy() const { return busy_; }
  bool empty() const { return jobs_.empty(); }

 private:
  Result<Job*> Spawn();
  bool Send(Job* job, std::string_view bytes, const std::vector<int>& fds);
  void OnSocket(Job* job);
  void OnKillOverdue(Job* job);
  void OnSupervisorDied(Job* job);
  void SweepOrphans();
  void Discard(Job* job);
  void Rest(Job* job, bool warm);

  Loop& loop_;
  Identity identity_;
  int64_t warm_time_ns_;
  std::map<pid_t, std::unique_ptr<Job>> jobs_;
  std::vector<Job*> idle_;
  std::vector<Job*> warm_;  // idle, each with an interpreter that is started already
  size_t busy_ = 0;
  Timer idle_timer_;
  Timer warm_timer_;
  Timer orphan_timer_;
  Sweeper orphans_;
  std::vector<JobClient*> lost_;
};

}  // namespace csb::agent
