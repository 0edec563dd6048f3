// SPDX-License-Identifier: Apache-2.0
//
// output_log.h: what a program printed, kept for whoever asks later: the newest bytes of both streams in the
// order in which they came, each at its offset in the whole.
//
//   OutputLog log(8 << 20);
//   log.Append(CSB_STREAM_STDOUT, bytes);
//   for (uint64_t at = log.begin(); at < log.end();) {
//     const OutputLog::Piece piece = log.At(at, 4096);
//     at += piece.bytes.size();
//   }
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace csb::agent {

class OutputLog {
 public:
  explicit OutputLog(size_t limit) : limit_(limit) {}

  void Append(uint8_t stream, std::string_view bytes);

  uint64_t begin() const { return end_ - size_; }  // older bytes are dropped
  uint64_t end() const { return end_; }
  size_t size() const { return size_; }
  // Of those dropped, this stream's.
  uint64_t dropped(uint8_t stream) const { return stream == 1 ? stdout_dropped_ : begin() - stdout_dropped_; }
  uint64_t bytes(uint8_t stream) const { return stream == 1 ? stdout_ : end_ - stdout_; }

  struct Piece {
    uint8_t stream = 0;
    std::string_view bytes;  // valid until the next Append
  };
  // Of one stream, from `offset` in [begin, end); at least a byte, at most `most`.
  Piece At(uint64_t offset, size_t most) const;

 private:
  struct Chunk {
    uint64_t offset;
    uint8_t stream;
    std::string bytes;
    size_t gone = 0;  // of its start
  };
  size_t limit_;
  std::deque<Chunk> chunks_;
  uint64_t end_ = 0;
  uint64_t stdout_ = 0;
  uint64_t stdout_dropped_ = 0;
  size_t size_ = 0;
};

}  // namespace csb::agent
