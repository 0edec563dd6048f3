// SPDX-License-Identifier: Apache-2.0
//
// errno_error.h: an Error from the failed system call at hand, naming call and arguments.
//
//   if (::bind(…) != 0) return ErrnoError("bind", path);   // "bind /run/x.sock: Permission denied"
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "clara_sandbox/cpp/result.h"

namespace csb {

inline Error ErrnoError(std::string_view call, std::string_view what = {}, int error = errno) {
  std::string message(call);
  if (!what.empty()) message.append(" ").append(what);
  message.append(": ").append(std::generic_category().message(error));
  Error out{CSB_E_IO, std::move(message), "", false};
  if (error == EMFILE || error == ENFILE) {
    out.code = CSB_E_NO_CAPACITY;
    out.hint = "raise the limit of open files (ulimit -n, LimitNOFILE= in the unit)";
    out.retryable = true;
  } else if (error == EACCES || error == EPERM) {
    out.code = CSB_E_FORBIDDEN;
  } else if (error == ENOSPC || error == EDQUOT) {
    out.code = CSB_E_NO_SPACE;
  }
  return out;
}

}  // namespace csb
