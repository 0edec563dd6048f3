// SPDX-License-Identifier: Apache-2.0
//
// context_run.h: an execution in a context that may outlive the operation that began it.
//
//   auto run = std::make_unique<ContextRun>(loop, contexts, oom, identification, std::move(request));
//   run->Start();
#pragma once

#include <optional>
#include <string>

#include "agent/background/background.h"
#include "agent/channel/context_stream.h"
#include "agent/command/oom.h"
#include "agent/python/context_table.h"

namespace csb::agent {

class ContextRun : public Background, public ContextClient, public ContextWaiter {
 public:
  ContextRun(Loop& loop, ContextTable& contexts, const OomCounter& oom, Identification identification,
             ContextRequest request);
  ~ContextRun() override;

  Status Start();

  void Signal(int number) override;
  void Kill(Cause cause) override;

  size_t Room(uint8_t) override { return 32 << 10; }
  void OnOutput(uint8_t stream, std::string_view bytes) override { Output(stream, bytes); }
  void OnResult(std::string_view json) override { Shown(json); }
  void OnEnd(const ContextEnd& end) override;
  void OnTurn(Context& context, bool fresh, const std::string& lost) override;
  void OnNoTurn(const Error& error) override;

 private:
  ContextTable& contexts_;
  const OomCounter& oom_;
  ContextRequest request_;
  Context* context_ = nullptr;
  Timer deadline_;
  Cause cause_ = Cause::kNone;
  bool fresh_ = false;
  std::string lost_;
  uint64_t number_ = 0;
  int64_t begun_ns_ = 0;
  std::optional<uint64_t> oom_before_;
};

}  // namespace csb::agent
