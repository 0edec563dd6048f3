// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/ranking.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace csb::remote {
namespace {

// FNV-1a, and the finish of MurmurHash3 behind it: FNV alone leaves the high bits of short texts alike. Part
// of what hosts of different versions must agree on: never to be changed.
uint64_t Score(std::string_view user, std::string_view address) {
  uint64_t hash = 0xCBF29CE484222325ull;
  const auto add = [&](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  };
  add(user);
  add(std::string_view("\0", 1));
  add(address);
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDull;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53ull;
  return hash ^ (hash >> 33);
}

}  // namespace

std::vector<size_t> Ranking(std::string_view user, const std::vector<std::string>& addresses) {
  std::vector<uint64_t> scores;
  for (const std::string& address : addresses) scores.push_back(Score(user, address));
  std::vector<size_t> order(addresses.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : addresses[a] < addresses[b];
  });
  return order;
}

}  // namespace csb::remote
