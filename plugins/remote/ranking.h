// SPDX-License-Identifier: Apache-2.0
//
// ranking.h: which of several addresses a user belongs to: rendezvous hashing (Thaler and Ravishankar, 1998).
// Every host that knows the same addresses finds the same order, whatever theirs is; one more or less of them
// moves only the users of that one.
//
//   std::vector<size_t> order = Ranking("alice", {"https://a", "https://b"});   // order[0] is alice's
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace csb::remote {

// Indices into `addresses`, the user's own first.
std::vector<size_t> Ranking(std::string_view user, const std::vector<std::string>& addresses);

}  // namespace csb::remote
