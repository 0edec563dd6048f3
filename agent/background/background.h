// SPDX-License-Identifier: Apache-2.0
//
// background.h: something that runs whether or not a host is connected, known by a handle: its output, kept,
// its end, and who wants to know of either. A program (program.h) or an execution in a context
// (context_run.h) is one.
//
//   Background& run = table.Add(std::make_unique<Program>(…));
//   run.Follow(observer);          // OnProgress: there is more output, more room for input, or the end
//   run.log(), run.ended(), run.Info()
//   run.Unfollow(observer);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/background/output_log.h"
#include "agent/base/loop.h"
#include "agent/channel/outcome.h"
#include "agent/command/command.h"

namespace csb::agent {

class Background;

class BackgroundObserver {
 public:
  virtual ~BackgroundObserver() = default;
  virtual void OnProgress() = 0;
  // What the code showed; of executions in a context.
  virtual void OnShown(std::string_view) {}
};

class Background {
 public:
  static constexpr size_t kKept = 8 << 20;             // bytes of output
  static constexpr uint64_t kInputWindow = 256 << 10;  // held for a program that does not read

  struct Identification {
    std::string handle;
    std::string kind;     // "process", "shell", "execute", "exec"
    std::string command;  // its first characters, for people
  };

  Background(Loop& loop, Identification identification);
  virtual ~Background() = default;
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  const std::string& handle() const { return id_.handle; }
  const OutputLog& log() const { return log_; }
  bool ended() const { return ended_; }
  bool followed() const { return !observers_.empty(); }
  // The payload of DONE for a run that ended: `more` besides.
  std::string Payload(uint64_t stdout_dropped, uint64_t stderr_dropped, bool with_handle) const;
  // The same for one that still runs.
  std::string RunningPayload(uint64_t stdout_dropped, uint64_t stderr_dropped) const;
  // A JSON object; `more` is put into it (`"offset":7`).
  std::string Info(std::string_view more = {}) const;

  void Follow(BackgroundObserver& observer) { observers_.push_back(&observer); }
  void Unfollow(BackgroundObserver& observer);

  // How much input it takes now.
  virtual uint64_t InputRoom() const { return 0; }
  // False: there is no input, or it is closed.
  virtual bool Input(std::string_view, bool) { return false; }
  virtual bool input_open() const { return false; }
  virtual void Signal(int number) = 0;
  virtual bool Resize(int, int) { return false; }
  virtual bool is_terminal() const { return false; }
  // Ends it with all that it started; idempotent.
  enum class Cause { kNone, kDeadline, kCancelled, kRemoved };
  virtual void Kill(Cause cause) = 0;

  std::function<void()> on_end;  // of the table

 protected:
  void Output(uint8_t stream, std::string_view bytes);
  void Shown(std::string_view json);
  void Progress();
  // Once. `command` and `input` are what DONE is made of.
  void End(const Command& command, OutcomeInput input);

  Loop& loop_;
  int64_t started_ns_;

 private:
  void Describe(json::Writer& w) const;

  Identification id_;
  OutputLog log_{kKept};
  std::vector<BackgroundObserver*> observers_;
  int64_t started_ms_, ended_ms_ = 0;
  bool ended_ = false;
  Command command_;
  OutcomeInput end_;
  bool notified_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace csb::agent
