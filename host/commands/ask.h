// SPDX-License-Identifier: Apache-2.0
//
// ask.h: one operation at the service, or at a backend, waited for.
//
//   auto status = Ask(*app.service(), CSB_OP_STATUS, "alice", "{}", 5s);
//   if (status) Print(*status); else return Fail(status.error());
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/service.h"
#include "host/base/timers.h"
#include "host/plugin/instance.h"

namespace csb::host {

// The JSON result. Output is thrown away. Not from a callback.
Result<std::string> Ask(const csb_service_v1& service, uint32_t op, std::string_view user,
                        std::string_view payload, std::chrono::milliseconds timeout);
Result<std::string> Ask(BackendInstance& backend, Timers& timers, uint32_t op, std::string_view user,
                        std::string_view payload, std::chrono::milliseconds timeout);

// CLOCK_MONOTONIC in nanoseconds, `after` from now.
uint64_t DeadlineAfter(std::chrono::nanoseconds after);

}  // namespace csb::host
