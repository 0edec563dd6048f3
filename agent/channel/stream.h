// SPDX-License-Identifier: Apache-2.0
//
// stream.h: one operation under way: its pipes, credits, deadline and end. The order at the end is fixed:
// every process is gone (the supervisor's report), what they wrote is sent, then DONE.
//
//   auto stream = std::make_unique<Stream>(context, channel, id, with_input, std::move(command), timing,
//   credit); if (auto started = stream->Start(); !started) Refuse(started.error());
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/channel/channel.h"
#include "agent/channel/tail_buffer.h"
#include "agent/command/command.h"
#include "agent/command/oom.h"
#include "agent/process/pool.h"

namespace csb::agent {

class Stream;

// What all streams share.
struct StreamContext {
  Loop& loop;
  SupervisorPool& pool;
  const Identity& identity;
  const OomCounter& oom;
  // The stream has sent DONE, or has nobody to send it to; it is destroyed after this round of the loop.
  std::function<void(Stream&)> finished;
};

class Stream : public StreamHandler, public JobClient {
 public:
  Stream(StreamContext& context, Channel& channel, uint32_t id, bool with_input, Command command,
         uint64_t timeout_ms, uint64_t credit);

  // An error: nothing runs, no callback will come, destroy it.
  Status Start();
  // Kills; DONE follows.
  void Cancel();

  bool OnInput(std::string_view bytes, bool end) override;
  void OnCredit(uint64_t bytes) override;
  void OnCancel(bool deadline) override;
  void OnRoom() override { Resume(); }
  void OnDetached() override;
  void OnReport(const Report& report) override;
  void OnSupervisorLost() override;

 private:
  enum class Cause { kNone, kDeadline, kCancelled };
  enum class Progress { kMoved, kEmpty, kClosed, kNoCredit, kNoRoom };

  struct Output {
    Fd fd;
    Watch watch;
    uint8_t stream = 0;
    bool bounded = false;
    uint64_t head_left = 0;
    TailBuffer tail;
    uint64_t bytes = 0;    // written by the command
    uint64_t dropped = 0;  // of those, not sent
    bool dropped_told = false;
  };

  Status MakePipes(Fd (&child)[4]);
  void Kill(Cause cause);
  void Pump(Output& output);
  Progress PumpOnce(Output& output);
  void Resume();
  void WriteInput();
  void GrantInput(uint64_t bytes);
  void ReadResult();
  bool TakeLine(std::string_view line);
  void TryFinish();
  bool Drain(Output& output);
  bool SendTail(Output& output);
  void TellDropped(Output& output);
  bool StartCleanup();
  void Finish();

  StreamContext& context_;
  Channel* channel_;
  uint32_t id_;
  bool with_input_;
  Command command_;
  uint64_t timeout_ms_;
  uint64_t credit_;
  int64_t opened_ns_;
  int64_t started_ns_ = 0;
  int64_t ended_ns_ = 0;
  SupervisorPool::Job* job_ = nullptr;
  Timer deadline_;
  Timer cleanup_limit_;
  Cause cause_ = Cause::kNone;
  std::optional<uint64_t> oom_before_;
  std::optional<Report> report_;       // set once every process is gone
  std::optional<Report> main_report_;  // the command's, while what it left half done is removed
  bool lost_ = false;
  bool finished_ = false;

  Output out_, err_;

  Fd in_;
  Watch in_watch_;
  std::string in_buffer_;
  size_t in_begin_ = 0;
  uint64_t in_credit_ = 0;   // the host may still send
  uint64_t in_written_ = 0;  // to be granted again
  bool in_ended_ = false;
  bool in_broken_ = false;

  Fd result_;
  Watch result_watch_;
  std::string result_buffer_;
  bool meta_seen_ = false;
  std::string last_line_;
  bool pip_missing_ = false;
  bool pip_no_match_ = false;
};

}  // namespace csb::agent
