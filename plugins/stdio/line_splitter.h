// SPDX-License-Identifier: Apache-2.0
//
// line_splitter.h: lines out of a byte stream, bounded.
//
//   LineSplitter lines(16 << 20);
//   lines.Feed(bytes, [](std::string_view line) { … }, [] { … a line was too long … });
//
// A line longer than the bound is reported once and skipped up to its end; the next one is served
// again. Blank lines are no lines. A line is valid until its callback returns.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace csb::stdio {

class LineSplitter {
 public:
  using OnLine = std::function<void(std::string_view line)>;
  using OnTooLong = std::function<void()>;

  explicit LineSplitter(size_t max_line) : max_line_(max_line) {}

  void Feed(std::string_view bytes, const OnLine& on_line, const OnTooLong& on_too_long) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      if (!skipping_ && pending_.size() + part.size() > max_line_) {
        skipping_ = true;
        pending_ = std::string();
        on_too_long();
      }
      if (end == std::string_view::npos) {
        if (!skipping_) pending_.append(part);
        return;
      }
      if (skipping_)
        skipping_ = false;
      else if (pending_.empty())
        Emit(part, on_line);
      else
        Join(part, on_line);
      bytes.remove_prefix(end + 1);
    }
  }

  // At the end of the stream: a last line without a newline is a line.
  void Finish(const OnLine& on_line) {
    if (!pending_.empty()) Join({}, on_line);
  }

 private:
  void Join(std::string_view part, const OnLine& on_line) {
    pending_.append(part);
    const std::string line = std::move(pending_);
    pending_ = std::string();  // and not clear(): one large line must not stay in memory
    Emit(line, on_line);
  }
  static void Emit(std::string_view line, const OnLine& on_line) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty()) on_line(line);
  }

  const size_t max_line_;
  std::string pending_;
  bool skipping_ = false;
};

}  // namespace csb::stdio
