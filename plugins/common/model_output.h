// SPDX-License-Identifier: Apache-2.0
//
// model_output.h: what a program printed, as a language model is to read it: stdout and stderr in the
// order in which they came, the start and the end of what is too long, no bytes that are no text.
//
//   ModelOutput output(30'000);
//   output.Append(bytes);              // on_output, of either stream
//   output.Dropped(bytes);             // CSB_EVENT_DROPPED
//   text = output.Text("p_0123…");     // with a line that says how the middle is read
//
// Offsets count the bytes of both streams together, as those of a kept run do, provided that what is
// dropped before it comes here lies behind the first half of the limit. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace csb {

class ModelOutput {
 public:
  explicit ModelOutput(size_t limit) : half_(limit / 2) {}
  void Append(std::string_view bytes);
  void Dropped(uint64_t bytes) { gone_ += bytes; }

  uint64_t bytes() const { return seen_ + gone_; }
  // Something is missing from the text.
  bool truncated() const { return bytes() > head_.size() + KeptTail().size(); }
  // `handle`: by which a tool read_output finds the rest; empty: there is none.
  std::string Text(std::string_view handle) const;

 private:
  std::string_view KeptTail() const;
  const size_t half_;
  std::string head_, tail_;
  uint64_t seen_ = 0, gone_ = 0;
};

// A NUL, or more than a tenth that is no UTF-8. A character that the end cuts is none of that.
bool LooksBinary(std::string_view bytes);
// "(binary output: 1,234 bytes, looks like PNG image)"
std::string BinaryNote(std::string_view first_bytes, uint64_t bytes);
// 1,234,567
std::string Grouped(uint64_t number);
// Bytes at the end that begin a character which is not whole.
size_t CutCharacter(std::string_view bytes);

}  // namespace csb
