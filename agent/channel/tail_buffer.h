// SPDX-License-Identifier: Apache-2.0
//
// tail_buffer.h: the last N bytes of a stream that may be endless.
//
//   TailBuffer tail(4096);
//   tail.Append(bytes);                       // any number of times
//   tail.dropped();                           // bytes that are gone
//   while (tail.size() > 0) tail.Remove(Send(tail.Front()));
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace csb::agent {

class TailBuffer {
 public:
  explicit TailBuffer(size_t limit = 0) : limit_(limit) {}

  void Append(std::string_view bytes) {
    if (bytes.size() >= limit_) {
      dropped_ += size_ + bytes.size() - limit_;
      ring_.assign(bytes.substr(bytes.size() - limit_));
      begin_ = 0;
      size_ = limit_;
      return;
    }
    // Memory grows with what is there, up to the limit; only a full ring wraps around.
    if (ring_.size() < limit_) {
      const size_t fits = std::min(bytes.size(), limit_ - ring_.size());
      ring_.append(bytes.substr(0, fits));
      size_ += fits;
      bytes.remove_prefix(fits);
    }
    while (!bytes.empty()) {
      const size_t part = std::min(bytes.size(), limit_ - begin_);
      std::copy_n(bytes.data(), part, ring_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = (begin_ + part) % limit_;
      dropped_ += part;
      bytes.remove_prefix(part);
    }
  }

  // The oldest bytes in one piece; call Append no more once Remove was called.
  std::string_view Front() const {
    return std::string_view(ring_).substr(begin_, std::min(size_, ring_.size() - begin_));
  }
  void Remove(size_t bytes) {
    if (!ring_.empty()) begin_ = (begin_ + bytes) % ring_.size();
    size_ -= bytes;
  }
  size_t size() const { return size_; }
  uint64_t dropped() const { return dropped_; }

 private:
  size_t limit_;
  std::string ring_;
  size_t begin_ = 0;
  size_t size_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace csb::agent
