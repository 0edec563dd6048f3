// SPDX-License-Identifier: Apache-2.0
//
// recorder.h: submits an operation, writes down what comes back, and checks that the callee
// keeps the rules of operation.h.
//
//   Recorder shell(table, self, {.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":"id"})"});
//   ASSERT_TRUE(shell.Wait());
//   EXPECT_EQ(shell.code(), CSB_OK);
//   EXPECT_EQ(shell.output(CSB_STREAM_STDOUT), "uid=1000\n");
//   EXPECT_THAT(shell.violations(), testing::IsEmpty());
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "clara_sandbox/backend.h"
#include "clara_sandbox/cpp/request.h"
#include "clara_sandbox/service.h"

namespace csb::testing {

class Recorder {
 public:
  enum class Credit { kAutomatic, kManual };  // automatic: gives back what was received

  // Submits in the constructor. An error of submit is the outcome too: code(), message().
  Recorder(const csb_backend_v1* table, csb_backend* self, const Request& request,
           Credit credit = Credit::kAutomatic);
  Recorder(const csb_service_v1* service, const Request& request, Credit credit = Credit::kAutomatic);
  // Cancels what has not ended, waits for its end and closes.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Until on_done, or until submit failed. false: `limit` passed.
  bool Wait(std::chrono::milliseconds limit = std::chrono::seconds(30));
  bool WaitOutput(uint32_t stream, const std::string& part,
                  std::chrono::milliseconds limit = std::chrono::seconds(30));

  // Sends all of it as credit allows, waiting for credit; then eof if wanted. false: ended before.
  bool Send(std::string_view input, bool eof = true);
  void Give(uint64_t bytes);  // output credit
  void Cancel(csb_status cause = CSB_E_CANCELLED);

  bool submitted() const { return op_ != nullptr; }
  bool done() const;
  csb_status code() const;
  bool retryable() const;
  std::string result() const;
  std::string message() const;
  std::string hint() const;
  std::string output(uint32_t stream) const;
  std::vector<std::pair<uint32_t, std::string>> events() const;
  uint64_t input_credit() const;  // granted so far
  // Broken rules, in words; empty for a callee that keeps them.
  std::vector<std::string> violations() const;

 private:
  template <typename Submit>
  void Start(const Request& request, const csb_op_calls* calls, Submit submit);
  static void OnOutput(void* ctx, uint32_t stream, csb_str data);
  static void OnEvent(void* ctx, uint32_t event, csb_str json);
  static void OnInputCredit(void* ctx, uint64_t bytes);
  static void OnDone(void* ctx, const csb_outcome* outcome);
  class Entered;

  const Credit credit_mode_;
  const csb_op_calls* calls_ = nullptr;
  csb_op* op_ = nullptr;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> entered_{0};
  std::atomic<uint64_t> allowed_{0};
  bool done_ = false;
  csb_status code_ = CSB_OK;
  bool retryable_ = false;
  std::string result_, message_, hint_;
  std::map<uint32_t, std::string> output_;
  std::vector<std::pair<uint32_t, std::string>> events_;
  uint64_t input_credit_ = 0;
  uint64_t input_sent_ = 0;
  std::vector<std::string> violations_;
};

}  // namespace csb::testing
