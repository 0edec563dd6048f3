// SPDX-License-Identifier: Apache-2.0
//
// registry_turns.h: what registry.cc and its parts (registry_make.cc, registry_end.cc, evacuation.cc) share.
#pragma once

#include <chrono>
#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb::incus {

// Two hosts that go on getting in each other's way.
inline constexpr int kTurns = 8;

// An event may have been missed.
inline constexpr std::chrono::milliseconds kLook{1'000};

inline Error NotOurs(const std::string& instance) {
  return {CSB_E_CONFLICT, "an instance " + instance + " that is not ours is in the way",
          "incus rename it, or delete it", false};
}

}  // namespace csb::incus
