// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/connection_limits.h"

#include <gtest/gtest.h>

#include <vector>

namespace csb::http {
namespace {

using boost::asio::ip::make_address;

TEST(ConnectionLimits, BoundOneAddressAndAll) {
  ConnectionLimits limits(3, 2);
  auto a = limits.Admit(make_address("10.0.0.1"));
  auto b = limits.Admit(make_address("::ffff:10.0.0.1"));
  EXPECT_TRUE(a && b);
  EXPECT_FALSE(limits.Admit(make_address("10.0.0.1")));
  auto c = limits.Admit(make_address("10.0.0.2"));
  EXPECT_TRUE(c);
  EXPECT_FALSE(limits.Admit(make_address("10.0.0.3")));
  a.reset();
  EXPECT_TRUE(limits.Admit(make_address("10.0.0.1")));
  EXPECT_EQ(limits.open(), 2u);
}

TEST(ConnectionLimits, AnIpv6HostIsItsNetwork) {
  ConnectionLimits limits(10, 1);
  auto a = limits.Admit(make_address("2001:db8::1"));
  EXPECT_FALSE(limits.Admit(make_address("2001:db8::2")));
  EXPECT_TRUE(limits.Admit(make_address("2001:db8:0:1::1")));
}

}  // namespace
}  // namespace csb::http
