// SPDX-License-Identifier: Apache-2.0
//
// limits.h: how long one call to the engine may take. A create of a user consists of several.
#pragma once

#include <chrono>

namespace csb::incus {

inline constexpr std::chrono::milliseconds kAskLimit{5'000};
// Of what is asked through one member about another, which may be cut off.
inline constexpr std::chrono::milliseconds kMemberLimit{2'500};
// Of what a probe asks: the host waits five seconds for all of it.
inline constexpr std::chrono::milliseconds kProbeLimit{3'000};
inline constexpr std::chrono::milliseconds kChangeLimit{30'000};
// An image is downloaded, or copied on a pool that can't do better.
inline constexpr std::chrono::milliseconds kCreateLimit{120'000};
// Of a user's files to another member.
inline constexpr std::chrono::milliseconds kMoveLimit{600'000};

}  // namespace csb::incus
