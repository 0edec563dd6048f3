// SPDX-License-Identifier: Apache-2.0
//
// input_buffer.h: bytes read and not consumed yet; grows as far as it is allowed, and shrinks again.
//
//   auto [to, size] = buffer.Room(16 << 10);   // where to read to; size 0: full
//   buffer.Added(n);
//   buffer.Consumed(Parse(buffer.view()));
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace csb::http {

class InputBuffer {
 public:
  explicit InputBuffer(size_t capacity) : data_(new char[capacity]), capacity_(capacity) {}

  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  size_t capacity() const { return capacity_; }

  // Free space, such that no more than `most` bytes are held. Moves what is held: views end.
  std::pair<char*, size_t> Room(size_t most) {
    const bool filled = end_ == capacity_;
    if (empty()) begin_ = end_ = 0;
    if (size() >= most) return {nullptr, 0};
    if (end_ == capacity_ || (begin_ > 0 && capacity_ < most)) {
      std::memmove(data_.get(), data_.get() + begin_, size());
      end_ -= begin_;
      begin_ = 0;
    }
    // Twice as much whenever it was filled, also if all of it is consumed since: small requests never pay for
    // large ones.
    if (end_ == capacity_ || (filled && capacity_ < most))
      Resize(std::min(2 * capacity_, std::max(most, capacity_ + 1)));
    return {data_.get() + end_, std::min(capacity_ - end_, most - size())};
  }
  void Added(size_t bytes) { end_ += bytes; }
  void Consumed(size_t bytes) { begin_ += bytes; }
  void Clear() { begin_ = end_ = 0; }
  // Gives memory back, if what is held fits into `capacity`.
  void Shrink(size_t capacity) {
    if (capacity_ > capacity && size() <= capacity) Resize(capacity);
  }

 private:
  void Resize(size_t capacity) {
    std::unique_ptr<char[]> data(new char[capacity]);
    std::memcpy(data.get(), data_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    data_ = std::move(data);
    capacity_ = capacity;
  }

  std::unique_ptr<char[]> data_;
  size_t capacity_;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace csb::http
