// SPDX-License-Identifier: Apache-2.0
//
// background.h: an agent that outlives the command which started it: an engine's exec into a machine that has
// an init of its own.
//
//   auto report = Detach();           // the caller's process waits in here, and ends with what is told
//   if (!report) return report.error();
//   ...                               // set up and start serving, errors to stderr as ever
//   report->Tell(0);
#pragma once

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// From the daemon to the process that was started; does nothing where there is none.
class StartReport {
 public:
  StartReport() = default;
  explicit StartReport(Fd pipe) : pipe_(std::move(pipe)) {}
  // The exit code of the waiting process; only the first counts. With 0 this process first lets go of the
  // standard descriptors, which the engine else waits for.
  void Tell(int code);

 private:
  Fd pipe_;
};

// Returns in a process of a session of its own that no terminal and no exec can end, with no descriptors but
// the standard ones. Whoever called it never returns: it ends with the code that is told, or with 1 when the
// daemon ends without a word.
Result<StartReport> Detach();

}  // namespace csb::agent
