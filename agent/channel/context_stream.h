// SPDX-License-Identifier: Apache-2.0
//
// context_stream.h: one `execute` in an interpreter that keeps its state, on behalf of a host: waits for its
// turn and for its whole input, then hands on what the context tells, within the host's credit.
//
//   auto stream = std::make_unique<ContextStream>(loop, contexts, channel, id, std::move(request), finished);
//   stream->Start();
//
// A deadline, a cancel and a host that is gone interrupt the code; its state is lost only if that has no
// effect.
#pragma once

#include <optional>
#include <string>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/channel/channel.h"
#include "agent/channel/output_gate.h"
#include "agent/command/oom.h"
#include "agent/python/context_table.h"

namespace csb::agent {

struct ContextRequest {
  std::string name;
  ContextExecution execution;
  bool with_input = false;
  uint64_t timeout_ms = 0;
  uint64_t credit = 0;
  std::optional<uint64_t> head, tail;
};

// Of an `execute` with `context`, or with `results`, which runs in a context of its own.
Result<ContextRequest> ReadContextRequest(const json::Value& args, const std::string& workspace);

// The member `context` of a result.
std::string ContextMember(const std::string& name, uint64_t number, bool fresh, const std::string& lost,
                          const ContextEnd& end);

class ContextStream : public StreamHandler, public ContextClient, public ContextWaiter {
 public:
  // `finished`: it is destroyed after this round of the loop.
  ContextStream(Loop& loop, ContextTable& contexts, const OomCounter& oom, Channel& channel, uint32_t id,
                ContextRequest request, std::function<void(ContextStream&)> finished);

  Status Start();
  void Cancel() { OnCancel(false); }

  bool OnInput(std::string_view bytes, bool end) override;
  void OnCredit(uint64_t bytes) override;
  void OnCancel(bool deadline) override;
  void OnRoom() override { Resume(); }
  void OnDetached() override;

  size_t Room(uint8_t stream) override;
  void OnOutput(uint8_t stream, std::string_view bytes) override;
  void OnResult(std::string_view json) override;
  void OnEnd(const ContextEnd& end) override;

  void OnTurn(Context& context, bool fresh, const std::string& lost) override;
  void OnNoTurn(const Error& error) override;

 private:
  enum class Cause { kNone, kDeadline, kCancelled };

  void Enter();
  void Resume();
  void TryFinish();
  void Answer(const std::string& payload);

  Loop& loop_;
  ContextTable& contexts_;
  const OomCounter& oom_;
  Channel* channel_;
  uint32_t id_;
  ContextRequest request_;
  std::function<void(ContextStream&)> finished_;
  OutputGate gate_;
  Timer deadline_;
  int64_t opened_ns_;
  int64_t begun_ns_ = 0, ended_ns_ = 0;
  Fd input_;  // gathered, until its end
  uint64_t input_credit_ = 0;
  uint64_t input_bytes_ = 0;
  bool input_ended_ = false;
  bool waiting_ = false;
  Context* context_ = nullptr;  // while it runs
  bool fresh_ = false;
  std::string lost_;
  std::string name_;  // of the context
  uint64_t number_ = 0;
  std::optional<uint64_t> oom_before_;
  std::optional<ContextEnd> end_;
  Cause cause_ = Cause::kNone;
  bool over_ = false;
};

}  // namespace csb::agent
