// SPDX-License-Identifier: Apache-2.0
//
// Operations that need a sandbox which runs already, and never make one.
#include "clara_sandbox/cpp/json.h"
#include "host/service/core.h"

namespace csb::host {

bool NeedsRunning(uint32_t op) {
  return op == CSB_OP_CONTEXT_LIST || op == CSB_OP_CONTEXT_DELETE ||
         (op >= CSB_OP_PROCESS_LIST && op <= CSB_OP_PROCESS_REMOVE);
}

// What looks at programs and interpreters of a sandbox that runs would find none in a new one. One that runs
// may be another host's, or this one's from before it was started.
void Service::Core::FindRunning(const UserPtr& user, const OpPtr& op) {
  const auto fail = [core = shared_from_this(), user, op](const Error& error) {
    core->Unqueue(op);
    op->FinishIfQueued(Outcome::Of(error));
    core->EndControl(user);
  };
  int target = -1;
  bool live = false;
  if (auto error = FindHome(*user, &target, &live)) return fail(*error);
  if (target < 0) return fail(NoSandbox());
  CallRequest request;
  request.op = CSB_OP_STATUS;
  request.user = user->id;
  request.request_id = op->request_id;
  request.deadline = options.control_deadline;
  StartCall(target, std::move(request), nullptr,
            [core = shared_from_this(), user, op, target, fail](Outcome o) {
              core->Report(target, o.code, o.message, false);
              if (o.code == CSB_E_NOT_FOUND || o.code == CSB_E_NO_SANDBOX) return fail(NoSandbox());
              if (o.code != CSB_OK) return fail(o.ToError());
              const auto info = json::ParseObject(o.result);
              if (!info || json::GetString(*info, "status") != "running")
                return fail({CSB_E_NOT_FOUND, "the user's sandbox does not run, so nothing runs in it",
                             "run something first: that starts it", false});
              op->seen_running = true;
              core->EndControl(user);
            });
}

}  // namespace csb::host
