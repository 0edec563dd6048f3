// SPDX-License-Identifier: Apache-2.0
//
// background_stream.h: an operation on something that runs in the background, for as long as it follows it: a
// run that may be given up at `yield_after`, an attach, a wait, a piece of output, some input.
//
//   auto stream = std::make_unique<BackgroundStream>(loop, table, run, channel, id, plan, finished);
//   stream->Start();
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "agent/background/background_table.h"
#include "agent/base/loop.h"
#include "agent/channel/channel.h"
#include "agent/channel/output_gate.h"

namespace csb::agent {

struct FollowPlan {
  enum class Kind { kRun, kAttach, kWait, kOutput, kInput };
  Kind kind = Kind::kWait;
  uint64_t credit = 0;
  bool input = false;       // the operation has input to pass on
  bool eof = true;          // kInput: its end is the program's end of input
  uint64_t offset = 0;      // of the first byte of output wanted
  uint64_t limit = 0;       // kOutput: most bytes
  uint64_t timeout_ms = 0;  // of the operation; a run's is the program's own
  int64_t patience_ns = 0;  // kRun: yield_after, 0: never; kWait, kOutput: how long
  std::optional<uint64_t> head, tail;
};

class BackgroundStream : public StreamHandler, public BackgroundObserver {
 public:
  BackgroundStream(Loop& loop, BackgroundTable& table, Background& run, Channel& channel, uint32_t id,
                   FollowPlan plan, std::function<void(BackgroundStream&)> finished);
  ~BackgroundStream() override;

  void Start();
  void Cancel() { OnCancel(false); }

  bool OnInput(std::string_view bytes, bool end) override;
  void OnCredit(uint64_t bytes) override;
  void OnCancel(bool deadline) override;
  void OnRoom() override { Advance(); }
  void OnDetached() override;
  void OnProgress() override { Advance(); }
  void OnShown(std::string_view json) override;

 private:
  void Advance();
  // False: it waits for credit or room.
  bool SendOutput();
  void GrantInput();
  void Finish(const std::string& payload);

  Loop& loop_;
  BackgroundTable& table_;
  Background& run_;
  Channel* channel_;
  uint32_t id_;
  FollowPlan plan_;
  std::function<void(BackgroundStream&)> finished_;
  OutputGate gate_;
  Timer patience_;
  Timer deadline_;
  uint64_t begin_;        // where what is sent begins
  uint64_t at_;           // the next byte to send
  uint64_t granted_ = 0;  // input that the host may still send
  uint64_t taken_ = 0;
  bool input_ended_ = false;
  bool impatient_ = false;
  bool cut_ = false;  // cancelled: the end must not wait for a slow reader
  bool over_ = false;
};

}  // namespace csb::agent
