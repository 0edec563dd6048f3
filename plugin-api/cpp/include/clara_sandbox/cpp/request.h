// SPDX-License-Identifier: Apache-2.0
//
// request.h: csb_request and csb_outcome in C++. A RequestView borrows, a Request owns.
//
//   Request request{.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":"ls"})"};
//   Request mine = Request::Copy(view);   // what has to outlive the call
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"

namespace csb {

// Output credit of a submitter that has no better idea.
inline constexpr uint64_t kDefaultCredit = 256 * 1024;

// Borrowed: valid while the function it was passed to runs.
struct RequestView {
  uint32_t op = 0;     // CSB_OP_*
  uint32_t flags = 0;  // CSB_REQUEST_*
  std::string_view user;
  std::string_view request_id;
  std::string_view payload;    // JSON object; empty means {}
  uint64_t deadline_ns = 0;    // CLOCK_MONOTONIC; 0: none
  uint64_t output_credit = 0;  // bytes

  bool has_input() const { return (flags & CSB_REQUEST_INPUT) != 0; }

  static RequestView From(const csb_request& r) {
    return {r.op, r.flags, View(r.user), View(r.request_id), View(r.payload), r.deadline_ns, r.output_credit};
  }
  csb_request ToAbi() const {
    return {sizeof(csb_request), op,          flags,        0, Str(user), Str(request_id),
            Str(payload),        deadline_ns, output_credit};
  }
};

struct Request {
  uint32_t op = 0;
  uint32_t flags = 0;
  std::string user;
  std::string request_id;
  std::string payload;
  uint64_t deadline_ns = 0;
  uint64_t output_credit = kDefaultCredit;

  bool has_input() const { return (flags & CSB_REQUEST_INPUT) != 0; }
  RequestView view() const { return {op, flags, user, request_id, payload, deadline_ns, output_credit}; }

  static Request Copy(const RequestView& v) {
    return {
        v.op,          v.flags,        std::string(v.user), std::string(v.request_id), std::string(v.payload),
        v.deadline_ns, v.output_credit};
  }
};

// How an operation ended. Borrowed: valid while the callback runs.
struct OutcomeView {
  csb_status code = CSB_OK;
  bool retryable = false;
  std::string_view result;   // JSON object when code is CSB_OK
  std::string_view message;  // else: what failed, on what
  std::string_view hint;

  bool ok() const { return code == CSB_OK; }
  Error error() const { return {code, std::string(message), std::string(hint), retryable}; }

  static OutcomeView From(const csb_outcome& o) {
    return {o.code, o.retryable != 0, View(o.result), View(o.message), View(o.hint)};
  }
};

}  // namespace csb
