// SPDX-License-Identifier: Apache-2.0
//
// callbacks.h: the csb_events that a backend gets from the host. Its ctx is a ticket (slot.h).
#pragma once

#include "clara_sandbox/operation.h"

namespace csb::host::guard {

extern const csb_events kCallbacks;

}  // namespace csb::host::guard
