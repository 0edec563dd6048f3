// SPDX-License-Identifier: Apache-2.0
#include "agent/background/output_log.h"

#include <algorithm>

#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

// Small enough that little memory is held for bytes that are dropped, large enough to be few.
constexpr size_t kChunk = 32 << 10;
// What a chunk costs beside its bytes: a program that changes its stream with each byte has a chunk for each.
constexpr size_t kChunkCost = 128;
constexpr size_t kUncounted = 1024;  // chunks that full ones alone would need, and more

}  // namespace

void OutputLog::Append(uint8_t stream, std::string_view bytes) {
  if (stream == CSB_STREAM_STDOUT) stdout_ += bytes.size();
  while (!bytes.empty()) {
    if (chunks_.empty() || chunks_.back().stream != stream || chunks_.back().bytes.size() >= kChunk)
      chunks_.push_back({end_, stream, {}, 0});
    std::string& last = chunks_.back().bytes;
    const std::string_view part = bytes.substr(0, kChunk - last.size());
    last.append(part);
    bytes.remove_prefix(part.size());
    end_ += part.size();
    size_ += part.size();
  }
  for (size_t cost;
       (cost = size_ + (std::max(chunks_.size(), kUncounted) - kUncounted) * kChunkCost) > limit_;) {
    Chunk& first = chunks_.front();
    const size_t left = first.bytes.size() - first.gone;
    const size_t over = std::min(left, cost - limit_);
    size_ -= over;
    if (first.stream == CSB_STREAM_STDOUT) stdout_dropped_ += over;
    if (over == left)
      chunks_.pop_front();
    else
      first.gone += over;
  }
}

OutputLog::Piece OutputLog::At(uint64_t offset, size_t most) const {
  if (offset < begin() || offset >= end_) return {};
  auto chunk = std::upper_bound(chunks_.begin(), chunks_.end(), offset,
                                [](uint64_t at, const Chunk& one) { return at < one.offset; });
  --chunk;
  return {chunk->stream, std::string_view(chunk->bytes).substr(offset - chunk->offset, most)};
}

}  // namespace csb::agent
