// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/background_stream.h"

#include <algorithm>

#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

using protocol::Kind;

// Input credit is granted in steps: a frame for each few bytes would cost more than they do.
constexpr uint64_t kInputStep = 64 << 10;

std::string Good(const std::string& result) { return R"({"code":0,"result":)" + result + "}"; }

}  // namespace

BackgroundStream::BackgroundStream(Loop& loop, BackgroundTable& table, Background& run, Channel& channel,
                                   uint32_t id, FollowPlan plan,
                                   std::function<void(BackgroundStream&)> finished)
    : loop_(loop),
      table_(table),
      run_(run),
      channel_(&channel),
      id_(id),
      plan_(std::move(plan)),
      finished_(std::move(finished)),
      gate_(&channel, id, plan_.credit, plan_.head, plan_.tail),
      patience_(loop,
                [this] {
                  impatient_ = true;
                  Advance();
                }),
      deadline_(loop, [this] { OnCancel(true); }),
      begin_(std::max(plan_.offset, run.log().begin())),
      at_(begin_) {
  run_.Follow(*this);
}

BackgroundStream::~BackgroundStream() { run_.Unfollow(*this); }

void BackgroundStream::Start() {
  if (plan_.patience_ns > 0)
    patience_.Arm(NowNs() + plan_.patience_ns);
  else if (plan_.kind == FollowPlan::Kind::kWait || plan_.kind == FollowPlan::Kind::kOutput)
    impatient_ = true;
  if (plan_.timeout_ms > 0 && plan_.kind != FollowPlan::Kind::kRun)
    deadline_.Arm(NowNs() + static_cast<int64_t>(plan_.timeout_ms) * kMs);
  if (plan_.input) GrantInput();
  Advance();
}

bool BackgroundStream::SendOutput() {
  const bool limited = plan_.kind == FollowPlan::Kind::kOutput;
  for (;;) {
    const OutputLog& log = run_.log();
    if (at_ < log.begin()) {  // it was printed faster than it was read
      const uint64_t gap = log.begin() - at_;
      // A run is followed from its first byte, so what was not counted of a stream yet is what is missing.
      const uint64_t of_stderr =
          plan_.kind == FollowPlan::Kind::kRun
              ? std::min(gap, log.dropped(CSB_STREAM_STDERR) -
                                  std::min(log.dropped(CSB_STREAM_STDERR), gate_.bytes(CSB_STREAM_STDERR)))
              : 0;
      if (of_stderr > 0) gate_.Gap(CSB_STREAM_STDERR, of_stderr);
      if (gap > of_stderr) gate_.Gap(CSB_STREAM_STDOUT, gap - of_stderr);
      at_ = log.begin();
    }
    const uint64_t end = limited ? std::min(log.end(), begin_ + plan_.limit) : log.end();
    if (at_ >= end) return true;
    const OutputLog::Piece piece = log.At(at_, static_cast<size_t>(std::min<uint64_t>(end - at_, 1 << 16)));
    const size_t room = gate_.Room(piece.stream);
    if (room == 0) return false;
    const std::string_view part = piece.bytes.substr(0, room);
    gate_.Put(piece.stream, part);
    at_ += part.size();
  }
}

void BackgroundStream::Advance() {
  if (over_) return;
  if (plan_.input) GrantInput();
  using K = FollowPlan::Kind;
  switch (plan_.kind) {
    case K::kRun: {
      const bool sent = SendOutput();
      if (run_.ended()) {
        if (!sent && cut_) gate_.Gap(CSB_STREAM_STDOUT, run_.log().end() - at_);
        if ((!sent && !cut_) || !gate_.SendTails(cut_)) return;
        // Whole in the host's hands: nothing that anybody would ask for.
        const bool cut = gate_.dropped(CSB_STREAM_STDOUT) + gate_.dropped(CSB_STREAM_STDERR) > 0;
        const std::string payload =
            run_.Payload(gate_.dropped(CSB_STREAM_STDOUT), gate_.dropped(CSB_STREAM_STDERR), cut);
        if (!cut) table_.Remove(run_);
        return Finish(payload);
      }
      if (impatient_) {
        gate_.SendTails(true);
        Finish(run_.RunningPayload(gate_.dropped(CSB_STREAM_STDOUT), gate_.dropped(CSB_STREAM_STDERR)));
      }
      return;
    }
    case K::kAttach:
      if (SendOutput() && run_.ended()) Finish(Good(run_.Info()));
      return;
    case K::kWait:
      if (run_.ended() || impatient_) Finish(Good(run_.Info()));
      return;
    case K::kOutput: {
      const bool sent = SendOutput();
      const bool full = at_ - begin_ >= plan_.limit;
      if (sent && (full || at_ > begin_ || run_.ended() || impatient_))
        Finish(Good(
            run_.Info("\"offset\":" + std::to_string(begin_) + ",\"next_offset\":" + std::to_string(at_))));
      return;
    }
    case K::kInput:
      if (input_ended_ || !run_.input_open()) Finish(Good("{\"written\":" + std::to_string(taken_) + "}"));
      return;
  }
}

void BackgroundStream::GrantInput() {
  if (input_ended_ || channel_ == nullptr) return;
  const uint64_t room = run_.InputRoom();
  if (room <= granted_ || (room - granted_ < kInputStep && granted_ > 0)) return;
  channel_->SendU64(Kind::kInputCredit, id_, room - granted_);
  granted_ = room;
}

bool BackgroundStream::OnInput(std::string_view bytes, bool end) {
  if (!plan_.input || input_ended_ || bytes.size() > granted_) return false;
  granted_ -= bytes.size();
  if (over_) return true;
  // A lost end of an attach leaves the program's input open for the next.
  const bool closes =
      end && (plan_.kind == FollowPlan::Kind::kRun || (plan_.kind == FollowPlan::Kind::kInput && plan_.eof));
  if (run_.input_open()) {
    taken_ += bytes.size();
    run_.Input(bytes, closes);
  }
  input_ended_ = end;
  Advance();
  return true;
}

void BackgroundStream::OnCredit(uint64_t bytes) {
  gate_.AddCredit(bytes);
  Advance();
}

void BackgroundStream::OnShown(std::string_view json) {
  if (channel_ != nullptr && plan_.kind == FollowPlan::Kind::kRun)
    channel_->Send(Kind::kEvent, CSB_EVENT_RESULT, id_, json);
}

void BackgroundStream::OnCancel(bool deadline) {
  if (over_) return;
  if (plan_.kind == FollowPlan::Kind::kRun) {
    cut_ = true;
    run_.Kill(deadline ? Background::Cause::kDeadline : Background::Cause::kCancelled);
    // What no credit covers is dropped: the end must not wait for a slow reader.
    if (run_.ended()) Advance();
    return;
  }
  // The program goes on; only this look at it ends.
  if (plan_.kind == FollowPlan::Kind::kAttach || !deadline)
    return Finish(ErrorPayload({deadline ? CSB_E_DEADLINE : CSB_E_CANCELLED,
                                deadline ? "the time for following " + run_.handle() + " is over; it goes on"
                                         : "no longer followed; " + run_.handle() + " goes on",
                                "", true}));
  // Answered now, whatever the program or the reader does: a host that hears nothing gives the sandbox up.
  if (plan_.kind == FollowPlan::Kind::kInput)
    return Finish(ErrorPayload(
        {CSB_E_DEADLINE,
         run_.handle() + " did not read its input in time; " + std::to_string(taken_) + " bytes were taken",
         "write less at once, or see what the program waits for", false}));
  const std::string offsets =
      "\"offset\":" + std::to_string(begin_) + ",\"next_offset\":" + std::to_string(at_);
  Finish(Good(run_.Info(plan_.kind == FollowPlan::Kind::kOutput ? offsets : std::string())));
}

void BackgroundStream::OnDetached() {
  channel_ = nullptr;
  gate_.Detach();
  if (plan_.kind == FollowPlan::Kind::kRun) run_.Kill(Background::Cause::kCancelled);
  over_ = true;
  patience_.Cancel();
  deadline_.Cancel();
  finished_(*this);
}

void BackgroundStream::Finish(const std::string& payload) {
  if (std::exchange(over_, true)) return;
  patience_.Cancel();
  deadline_.Cancel();
  if (channel_ != nullptr) {
    channel_->Remove(id_);
    channel_->Send(Kind::kDone, 0, id_, payload);
  }
  finished_(*this);
}

}  // namespace csb::agent
