// SPDX-License-Identifier: Apache-2.0
//
// run_session.h: one operation with this process's stdin, stdout and stderr.
//
//   RunSession session(signals, service);
//   int exit_code = session.Run(CSB_OP_EXECUTE, "alice", R"({"code":"print(1)"})", true);
//
// The main thread moves all bytes, so that nothing blocks but poll(2): what comes in waits in memory only
// within the credit given, stdin is read only within the credit got, and a signal is seen at any time. A
// signal cancels the operation; a second one ends the process.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/service.h"
#include "host/commands/app.h"
#include "host/commands/signals.h"

namespace csb::host {

class RunSession {
 public:
  RunSession(SignalWaiter& signals, const csb_service_v1& service) : signals_(signals), service_(service) {}

  // The code's exit code, or what the command ends with when it never ran; says on stderr what went wrong.
  // input: whether stdin is passed on. Once for an object.
  int Run(uint32_t op, std::string_view user, std::string_view payload, bool input);

  // Asked about each signal first: true, it is dealt with.
  std::function<bool(int signal)> on_signal;

  // CSB_OK once the code ran, whatever it ended with.
  csb_status status() const { return status_; }

 private:
  struct Chunk {
    int fd;
    std::string data;
  };
  struct Outcome {
    csb_status code;
    std::string result;
    Error error;
  };

  static const csb_events& Events();
  void OnDone(const csb_outcome& outcome);
  int Pump(bool input);
  void Step(bool& input);
  void Cancel();
  void ReadInput(bool& input);
  void WriteOutput();
  void GiveCredit(size_t written, bool all);
  int ExitCode();

  SignalWaiter& signals_;
  const csb_service_v1& service_;
  csb_op* handle_ = nullptr;

  std::mutex mutex_;  // guards what callbacks write
  std::deque<Chunk> arrived_;
  uint64_t input_credit_ = 0;
  std::optional<Outcome> outcome_;

  // The main thread's own.
  std::deque<Chunk> output_;
  size_t written_ = 0;  // of the first chunk
  uint64_t to_credit_ = 0;
  int signal_ = 0;  // that cancelled
  int output_errno_ = 0;
  csb_status status_ = CSB_E_INTERNAL;
};

// Whether the user's sandbox runs already.
bool IsLive(const csb_service_v1& service, const std::string& user);
// Stops it, unless another host uses it; `say`: tells on stderr when that fails.
void StopUnused(const csb_service_v1& service, const std::string& user, bool say);
// Why there is no backend at all.
Error NoBackend(const App& app);

// Whether stdin has anything to pass on: not /dev/null, and not the terminal of another job.
bool HasInput();

}  // namespace csb::host
