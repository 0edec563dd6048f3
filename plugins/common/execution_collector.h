// SPDX-License-Identifier: Apache-2.0
//
// execution_collector.h: for frontends that answer a run with one document: gathers its output,
// bounded, and makes valid UTF-8 of it.
//
//   ExecutionCollector collector({.head = 1 << 20, .tail = 1 << 20});
//   collector.Output(stream, bytes);          // on_output
//   collector.Event(event, json);             // on_event
//   Execution run = collector.Finish(result); // on_done with CSB_OK
//   WriteExecution(writer, run);              // members of an object: success output error …
//
// Memory: head + 2 * tail for each of stdout and stderr. What lies between head and tail, and what
// the agent says it dropped (CSB_EVENT_DROPPED), is counted and stands in the text as a line
// "[… N bytes dropped …]". Not thread-safe: callbacks of one operation never overlap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

// Bytes of one stream: the first `head`, the last `tail`, and how many are missing between.
class BoundedText {
 public:
  BoundedText(size_t head, size_t tail) : head_limit_(head), tail_limit_(tail) {}
  void Append(std::string_view bytes);
  void Dropped(uint64_t bytes);  // that many are missing here
  uint64_t dropped() const;
  // Valid UTF-8; what is ill-formed becomes U+FFFD, but for characters that the gap cut in two.
  std::string Text() const { return Text(head_limit_ + tail_limit_); }
  // The same of at most `limit` bytes, half of them from the start, the marker not counted.
  std::string Text(size_t limit) const;
  // Bytes kept, before they are made UTF-8.
  size_t size() const;

 private:
  size_t head_limit_, tail_limit_;
  std::string head_, tail_;
  uint64_t dropped_ = 0;
  bool in_tail_ = false;
};

// How a run ended, in the terms of the REST interface and of the tools.
struct Execution {
  bool success = false;  // exit_code == 0
  std::string output;    // stdout
  std::string stderr_text;
  int exit_code = 0;
  int signal = 0;             // that ended it; 0: none
  std::string cause;          // exit signal deadline oom cancelled
  double execution_time = 0;  // seconds
  bool truncated = false;
  uint64_t stdout_bytes = 0;  // written by the program, dropped ones too
  uint64_t stderr_bytes = 0;
  uint64_t stdout_dropped = 0;  // of these, what is missing between head and tail
  uint64_t stderr_dropped = 0;
  std::string message;  // why it was ended, when it was; with the hint
  std::string hint;

  bool timed_out() const { return cause == "deadline"; }
  bool oom_killed() const { return cause == "oom"; }
  // What a client shows as the error: stderr; behind the message, when the run was ended. Nothing
  // when there is neither.
  std::optional<std::string> error() const;
};

class ExecutionCollector {
 public:
  struct Limits {
    size_t head = 0, tail = 0;  // bytes, for each of stdout and stderr
    size_t both = SIZE_MAX;     // bytes of the two together; stderr gives way first, down to a third
  };
  explicit ExecutionCollector(Limits limits);

  void Output(uint32_t stream, std::string_view bytes);  // CSB_STREAM_STDOUT, CSB_STREAM_STDERR
  void Event(uint32_t event, std::string_view json);     // others than DROPPED are ignored
  // `result`: the JSON of an outcome with CSB_OK, docs/operations.md. CSB_E_INTERNAL when it is
  // not a program's result.
  Result<Execution> Finish(std::string_view result);
  // What came so far, for an operation that ends in an error.
  const BoundedText& standard_output() const { return stdout_; }
  const BoundedText& standard_error() const { return stderr_; }

 private:
  size_t both_;
  BoundedText stdout_, stderr_;
};

// success output error exit_code execution_time timed_out oom_killed truncated stdout_bytes stderr_bytes
void WriteExecution(json::Writer& writer, const Execution& run);

}  // namespace csb
