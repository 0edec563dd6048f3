// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/output_gate.h"

#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kSlice = 32 << 10;

}  // namespace

OutputGate::OutputGate(Channel* channel, uint32_t id, uint64_t credit, std::optional<uint64_t> head,
                       std::optional<uint64_t> tail)
    : channel_(channel), id_(id), credit_(credit), bounded_(head || tail) {
  for (const uint8_t stream : {CSB_STREAM_STDOUT, CSB_STREAM_STDERR}) {
    Part& part = Of(stream);
    part.stream = stream;
    part.head_left = head.value_or(0);
    part.tail = TailBuffer(tail.value_or(0));
  }
}

void OutputGate::AddCredit(uint64_t bytes) {
  credit_ = bytes > UINT64_MAX - credit_ ? UINT64_MAX : credit_ + bytes;
}

size_t OutputGate::Room(uint8_t stream) const {
  const Part& part = Of(stream);
  if (channel_ == nullptr || (bounded_ && part.head_left == 0)) return kSlice;
  if (channel_->full()) return 0;
  const uint64_t most = bounded_ ? part.head_left : kSlice;
  return static_cast<size_t>(std::min<uint64_t>({most, credit_, kSlice}));
}

void OutputGate::Put(uint8_t stream, std::string_view bytes) {
  Part& part = Of(stream);
  part.bytes += bytes.size();
  if (channel_ == nullptr) return;
  if (bounded_ && part.head_left == 0) return part.tail.Append(bytes);
  if (bounded_) part.head_left -= std::min<uint64_t>(part.head_left, bytes.size());
  credit_ -= std::min<uint64_t>(credit_, bytes.size());
  channel_->Send(protocol::Kind::kOutput, stream, id_, bytes);
}

void OutputGate::Miss(uint8_t stream, uint64_t bytes) {
  Of(stream).bytes += bytes;
  Of(stream).dropped += bytes;
}

void OutputGate::Gap(uint8_t stream, uint64_t bytes) {
  if (bounded_) return Miss(stream, bytes);
  Of(stream).bytes += bytes;
  TellDropped(stream, bytes);
  Of(stream).gaps += bytes;
}

void OutputGate::TellDropped(uint8_t stream, uint64_t bytes) {
  if (bytes == 0 || channel_ == nullptr) return;
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "stream", static_cast<int>(stream));
  json::Member(w, "bytes", bytes);
  w.EndObject();
  channel_->Send(protocol::Kind::kEvent, CSB_EVENT_DROPPED, id_, {buffer.GetString(), buffer.GetSize()});
}

bool OutputGate::SendTails(bool cut) {
  // Both are tried even if one waits.
  const bool first = SendTail(parts_[0], cut);
  return SendTail(parts_[1], cut) && first;
}

bool OutputGate::SendTail(Part& part, bool cut) {
  if (!part.told) {
    part.told = true;
    part.dropped += part.tail.dropped();
    if (cut && credit_ < part.tail.size()) {
      part.dropped += part.tail.size() - credit_;
      part.tail.Remove(part.tail.size() - credit_);
    }
    TellDropped(part.stream, part.dropped);
  }
  while (part.tail.size() > 0 && channel_ != nullptr) {
    if (channel_->full() || credit_ == 0) return false;
    const std::string_view front = part.tail.Front();
    const size_t n = static_cast<size_t>(std::min<uint64_t>({front.size(), credit_, kSlice}));
    channel_->Send(protocol::Kind::kOutput, part.stream, id_, front.substr(0, n));
    credit_ -= n;
    part.tail.Remove(n);
  }
  return true;
}

}  // namespace csb::agent
