// SPDX-License-Identifier: Apache-2.0
//
// context.h: one interpreter that keeps its state between executions (context.py), under a supervisor of its
// own. One execution at a time; its owner (context_table.h) keeps others waiting.
//
//   Context context(loop, pool, settings, "default", died);
//   if (auto begun = context.Begin(execution, client); !begun) return begun.error();
//   … client.OnOutput, client.OnResult …, client.OnEnd
//   context.Interrupt();     // a deadline: KeyboardInterrupt first, then an end of everything in it
//
// What the interpreter says is the user's own code's word: bounded and checked, and of no use outside it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/channel/tail_buffer.h"
#include "agent/command/command.h"
#include "agent/process/pool.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct ContextExecution {
  std::string code;
  std::string cwd;       // empty: stays where it is
  std::string env_json;  // object of strings; empty: none
  bool results = true;
  Fd input;  // its stdin
};

struct ContextEnd {
  bool completed = false;  // the interpreter goes on; else it is gone with its state, `report` says how
  int exit_code = 0;
  bool interrupted = false;
  bool supervisor_lost = false;
  Report report;
};

class ContextClient {
 public:
  virtual ~ContextClient() = default;
  // How many bytes of CSB_STREAM_STDOUT or _STDERR it takes now; 0: none until Context::Resume.
  virtual size_t Room(uint8_t stream) = 0;
  virtual void OnOutput(uint8_t stream, std::string_view bytes) = 0;
  virtual void OnResult(std::string_view json) = 0;
  // Once, last; all that was printed has been given. The context takes the next one from here on.
  virtual void OnEnd(const ContextEnd& end) = 0;
};

class Context : public JobClient {
 public:
  // `died`: it has ended, not asked to, and may be destroyed after this round of the loop.
  Context(Loop& loop, SupervisorPool& pool, std::string name, std::function<void()> died);

  void set_died(std::function<void()> died) { died_ = std::move(died); }
  // Starts the interpreter. An error: destroy it.
  Status Start(const CommandSettings& settings);
  // `client` must live until OnEnd.
  Status Begin(ContextExecution execution, ContextClient& client);
  // The client takes output again.
  void Resume();
  // Ends the execution that runs, the interpreter's state kept if it obeys within two seconds.
  void Interrupt();
  // Sends a signal to the interpreter and what it started.
  void Signal(int number);
  // Ends it; `died` follows.
  void Kill(std::string why);

  bool busy() const { return client_ != nullptr; }
  bool over() const { return over_; }
  const std::string& name() const { return name_; }
  uint64_t executions() const { return executions_; }
  uint64_t memory() const { return memory_; }  // bytes, as of its last execution
  int64_t created_ms() const { return created_ms_; }
  int64_t used_ms() const { return used_ms_; }
  // Why it ended, once it has.
  const std::string& end() const { return end_; }

  void OnReport(const Report& report) override;
  void OnSupervisorLost() override;

 private:
  struct Pipe {
    Fd fd;
    Watch watch;
    uint8_t stream = 0;
    TailBuffer late;  // printed while no execution ran
    bool late_told = false;
    uint64_t due = 0;    // bytes that lay in it when the interpreter said that it is done
    bool empty = false;  // of what belongs to the execution
  };

  void Pump(Pipe& pipe, bool all);
  void ReadControl();
  void TakeLine(std::string_view line);
  void TryEnd();
  void Settle();

  Loop& loop_;
  SupervisorPool& pool_;
  std::string name_;
  std::function<void()> died_;
  SupervisorPool::Job* job_ = nullptr;
  Fd control_;
  Watch control_watch_;
  std::string lines_;
  Pipe out_, err_;
  ContextClient* client_ = nullptr;
  Timer grace_;
  Timer closed_;
  bool interrupted_ = false;
  bool done_ = false;  // the interpreter has said so, output may still be in its pipes
  int exit_code_ = 0;
  std::optional<Report> report_;
  bool lost_ = false;
  bool over_ = false;
  std::string end_;
  uint64_t executions_ = 0;
  uint64_t memory_ = 0;
  int64_t created_ms_ = 0, used_ms_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace csb::agent
