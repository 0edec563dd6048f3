// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/ranking.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace csb::remote {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Addresses(size_t n) {
  std::vector<std::string> out;
  for (size_t i = 0; i < n; ++i) out.push_back("https://sandbox-" + std::to_string(i) + ".example");
  return out;
}

// Hosts of different versions must agree: when this fails, users leave their files behind.
TEST(Ranking, IsFrozen) {
  const std::vector<std::string> three{"https://a.example", "https://b.example", "http://10.0.0.3:8080/base"};
  EXPECT_THAT(Ranking("alice", three), ElementsAre(2, 1, 0));
  EXPECT_THAT(Ranking("bob", three), ElementsAre(0, 2, 1));
  EXPECT_THAT(Ranking("carol", three), ElementsAre(1, 2, 0));
  EXPECT_THAT(Ranking("dave", three), ElementsAre(0, 1, 2));
  EXPECT_THAT(Ranking("ä %", three), ElementsAre(1, 2, 0));
  EXPECT_THAT(Ranking("../x", three), ElementsAre(0, 1, 2));
  EXPECT_THAT(Ranking("0", three), ElementsAre(1, 0, 2));
}

TEST(Ranking, OfNoneAndOne) {
  EXPECT_THAT(Ranking("alice", {}), IsEmpty());
  EXPECT_THAT(Ranking("alice", {"https://a"}), ElementsAre(0));
}

TEST(Ranking, NamesEachAddressOnce) {
  for (const char* user : {"", "alice", "ä %", "\xff"}) {
    auto order = Ranking(user, Addresses(9));
    std::sort(order.begin(), order.end());
    std::vector<size_t> all(9);
    std::iota(all.begin(), all.end(), size_t{0});
    EXPECT_EQ(order, all) << user;
  }
}

TEST(Ranking, DoesNotDependOnTheOrderOfTheList) {
  const std::vector<std::string> list = Addresses(5), turned(list.rbegin(), list.rend());
  for (int i = 0; i < 200; ++i) {
    const std::string user = "user-" + std::to_string(i);
    const auto one = Ranking(user, list), other = Ranking(user, turned);
    for (size_t place = 0; place < list.size(); ++place)
      EXPECT_EQ(list[one[place]], turned[other[place]]) << user;
  }
}

// Of similar ids over similar addresses, as they are in real life.
TEST(Ranking, SpreadsUsersFairly) {
  for (const size_t n : {2u, 3u, 5u, 8u}) {
    std::map<size_t, int> first, second;
    for (int i = 0; i < 8000; ++i) {
      const auto order = Ranking("user" + std::to_string(i), Addresses(n));
      ++first[order[0]];
      ++second[order[1]];
    }
    const double fair = 8000.0 / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(first[i], fair, 0.12 * fair) << n;
      EXPECT_NEAR(second[i], fair, 0.12 * fair) << n;  // who is down leaves a share to each of the others
    }
  }
}

TEST(Ranking, OneMoreAddressMovesOnlyItsOwnUsers) {
  const auto five = Addresses(5), six = Addresses(6);
  int moved = 0;
  for (int i = 0; i < 6000; ++i) {
    const std::string user = "user" + std::to_string(i);
    const size_t before = Ranking(user, five)[0], after = Ranking(user, six)[0];
    if (before == after) continue;
    EXPECT_EQ(after, 5u) << user;
    ++moved;
  }
  EXPECT_NEAR(moved, 1000, 150);
}

// An address that goes hands its users to their own next one.
TEST(Ranking, OneLessMovesItsUsersToTheirSecond) {
  const auto six = Addresses(6), five = Addresses(5);
  for (int i = 0; i < 500; ++i) {
    const std::string user = "user" + std::to_string(i);
    auto order = Ranking(user, six);
    order.erase(std::find(order.begin(), order.end(), size_t{5}));
    EXPECT_EQ(Ranking(user, five), order) << user;
  }
}

}  // namespace
}  // namespace csb::remote
