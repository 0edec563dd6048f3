// SPDX-License-Identifier: Apache-2.0
//
// operations.h: names of the operations and status codes, for logs, metrics and the agent's
// channel.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "clara_sandbox/operation.h"

namespace csb {

struct OperationName {
  uint32_t op;
  std::string_view name;
};

inline constexpr std::array kOperations = {
    OperationName{CSB_OP_PROBE, "probe"},
    OperationName{CSB_OP_LIST, "list"},
    OperationName{CSB_OP_CREATE, "create"},
    OperationName{CSB_OP_STATUS, "status"},
    OperationName{CSB_OP_STOP, "stop"},
    OperationName{CSB_OP_RESTART, "restart"},
    OperationName{CSB_OP_DESTROY, "destroy"},
    OperationName{CSB_OP_EXECUTE, "execute"},
    OperationName{CSB_OP_SHELL, "shell"},
    OperationName{CSB_OP_EXEC, "exec"},
    OperationName{CSB_OP_PIP_INSTALL, "pip_install"},
    OperationName{CSB_OP_PIP_LIST, "pip_list"},
    OperationName{CSB_OP_CONTEXT_LIST, "context_list"},
    OperationName{CSB_OP_CONTEXT_DELETE, "context_delete"},
    OperationName{CSB_OP_FILE_READ, "file_read"},
    OperationName{CSB_OP_FILE_WRITE, "file_write"},
    OperationName{CSB_OP_FILE_DELETE, "file_delete"},
    OperationName{CSB_OP_FILE_LIST, "file_list"},
    OperationName{CSB_OP_FILE_STAT, "file_stat"},
    OperationName{CSB_OP_UNZIP, "unzip"},
    OperationName{CSB_OP_PROCESS_START, "process_start"},
    OperationName{CSB_OP_PROCESS_LIST, "process_list"},
    OperationName{CSB_OP_PROCESS_OUTPUT, "process_output"},
    OperationName{CSB_OP_PROCESS_INPUT, "process_input"},
    OperationName{CSB_OP_PROCESS_SIGNAL, "process_signal"},
    OperationName{CSB_OP_PROCESS_WAIT, "process_wait"},
    OperationName{CSB_OP_PROCESS_ATTACH, "process_attach"},
    OperationName{CSB_OP_PROCESS_RESIZE, "process_resize"},
    OperationName{CSB_OP_PROCESS_REMOVE, "process_remove"},
    OperationName{CSB_OP_HEALTH, "health"},
    OperationName{CSB_OP_INFO, "info"},
    OperationName{CSB_OP_EXPLAIN, "explain"},
    OperationName{CSB_OP_METRICS, "metrics"},
};

// "" for an unknown id.
constexpr std::string_view NameOfOperation(uint32_t op) {
  for (const auto& entry : kOperations)
    if (entry.op == op) return entry.name;
  return {};
}

// 0 for an unknown name.
constexpr uint32_t OperationByName(std::string_view name) {
  for (const auto& entry : kOperations)
    if (entry.name == name) return entry.op;
  return 0;
}

constexpr std::string_view NameOfStatus(csb_status code) {
  switch (code) {
    case CSB_OK:
      return "ok";
    case CSB_E_CANCELLED:
      return "cancelled";
    case CSB_E_BAD_REQUEST:
      return "bad_request";
    case CSB_E_INVALID:
      return "invalid";
    case CSB_E_UNAUTHORIZED:
      return "unauthorized";
    case CSB_E_FORBIDDEN:
      return "forbidden";
    case CSB_E_NOT_FOUND:
      return "not_found";
    case CSB_E_CONFLICT:
      return "conflict";
    case CSB_E_TOO_LARGE:
      return "too_large";
    case CSB_E_RATE_LIMITED:
      return "rate_limited";
    case CSB_E_UNAVAILABLE:
      return "unavailable";
    case CSB_E_NO_CAPACITY:
      return "no_capacity";
    case CSB_E_DEADLINE:
      return "deadline";
    case CSB_E_UNSUPPORTED:
      return "unsupported";
    case CSB_E_GONE:
      return "gone";
    case CSB_E_NO_SANDBOX:
      return "no_sandbox";
    case CSB_E_IO:
      return "io";
    case CSB_E_INTERNAL:
      return "internal";
    case CSB_E_NO_SPACE:
      return "no_space";
    default:
      return "unknown";
  }
}

}  // namespace csb
