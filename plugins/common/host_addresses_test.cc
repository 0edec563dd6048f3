// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_addresses.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

#include <set>
#include <sstream>

namespace csb {
namespace {

std::multiset<std::string> Split(const std::string& ranges) {
  std::multiset<std::string> out;
  std::istringstream in(ranges);
  for (std::string range; std::getline(in, range, ',');) out.insert(range);
  return out;
}

TEST(HostAddresses, ComeAfterWhatIsGiven) {
  const std::string alone = WithHostAddresses(""), with = WithHostAddresses("10.0.0.0/8,fc00::/7");
  EXPECT_EQ(with, "10.0.0.0/8,fc00::/7" + (alone.empty() ? "" : "," + alone));
  EXPECT_FALSE(alone.starts_with(','));
}

TEST(HostAddresses, AreSingleAddressesBeyondLoopback) {
  const auto own = Split(WithHostAddresses(""));
  for (const std::string& range : own) {
    const size_t slash = range.find('/');
    ASSERT_NE(slash, std::string::npos) << range;
    const std::string address = range.substr(0, slash), bits = range.substr(slash + 1);
    in_addr v4{};
    in6_addr v6{};
    const bool is_v4 = inet_pton(AF_INET, address.c_str(), &v4) == 1;
    EXPECT_TRUE(is_v4 || inet_pton(AF_INET6, address.c_str(), &v6) == 1) << range;
    EXPECT_EQ(bits, is_v4 ? "32" : "128") << range;
    EXPECT_FALSE(address.starts_with("127.") || address == "::1") << range;
    EXPECT_EQ(own.count(range), 1u) << range << " twice";
  }
}

}  // namespace
}  // namespace csb
