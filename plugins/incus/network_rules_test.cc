// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/network_rules.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include "plugins/incus/names.h"

namespace csb::incus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::vector<std::string> Texts(const std::vector<AddressRange>& ranges) {
  std::vector<std::string> out;
  for (const AddressRange& range : ranges) out.push_back(range.text());
  return out;
}
std::vector<AddressRange> Ranges(std::string_view text) { return *ReadRanges(text); }

TEST(NetworkRules, RangesAreReadAsTheyAreWritten) {
  EXPECT_THAT(Texts(Ranges("10.0.0.0/8,,169.254.169.254/32,fc00::/7,::/0")),
              ElementsAre("10.0.0.0/8", "169.254.169.254/32", "fc00::/7", "::/0"));
  EXPECT_THAT(Texts(Ranges("")), ElementsAre());
  EXPECT_EQ(ReadRange("203.0.113.7")->text(), "203.0.113.7/32");
  for (const char* wrong :
       {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x", "x/8", "fc00::/129",
        "10.0.0.0", "10.0.0.0/8, 192.168.0.0/16", "10.0.0.0/8\n--lo", "@internal"}) {
    const auto read = ReadRanges(wrong);
    ASSERT_FALSE(read) << wrong;
    EXPECT_THAT(read.error().message, HasSubstr("incus.blocked"));
  }
}

TEST(NetworkRules, OverlapsAreMerged) {
  EXPECT_THAT(Texts(Merge(Ranges("192.168.4.0/24,10.84.3.0/24,10.0.0.0/8,10.84.3.1/32,10.0.0.0/8,11.0.0.0/"
                                 "8,fd00::1/128,fc00::/7,fe80::/10"))),
              ElementsAre("10.0.0.0/8", "11.0.0.0/8", "192.168.4.0/24", "fc00::/7", "fe80::/10"));
  EXPECT_THAT(Texts(Merge(Ranges("0.0.0.0/0,10.0.0.0/8,::/0,fc00::/7"))), ElementsAre("0.0.0.0/0", "::/0"));
}

TEST(NetworkRules, ASubnetIsRead) {
  const auto subnet = ReadSubnet("10.84.3.1/24");
  ASSERT_TRUE(subnet);
  EXPECT_EQ(Ipv4Text(subnet->first()), "10.84.3.0");
  EXPECT_EQ(Ipv4Text(subnet->last()), "10.84.3.255");
  EXPECT_EQ(subnet->range().text(), "10.84.3.0/24");
  EXPECT_EQ(DhcpRange(*subnet), "10.84.3.2-10.84.3.63");
  EXPECT_EQ(DhcpRange(*ReadSubnet("10.84.0.1/16")), "10.84.0.2-10.84.63.255");
  EXPECT_EQ(DhcpRange(*ReadSubnet("10.84.3.1/29")), "10.84.3.2-10.84.3.3");
  for (const char* wrong :
       {"none", "auto", "", "10.84.3.1", "10.84.3.1/30", "10.84.3.1/7", "10.84.3.1/x", "fd00::1/64"})
    EXPECT_FALSE(ReadSubnet(wrong)) << wrong;
}

TEST(NetworkRules, AnAddressIsOneThatIsFree) {
  const Subnet subnet = *ReadSubnet("10.84.3.1/24");
  const Config network = {{"ipv4.dhcp.ranges", "10.84.3.2-10.84.3.63"}};
  std::set<uint32_t> taken, dynamic;
  for (int i = 0; i < 191; ++i) {
    const auto address = PickFree(subnet, network, taken);
    ASSERT_TRUE(address);
    EXPECT_TRUE(taken.insert(*address).second) << Ipv4Text(*address) << " twice";
    EXPECT_GE(*address, *ReadIpv4("10.84.3.64"));
    EXPECT_LE(*address, *ReadIpv4("10.84.3.254"));
  }
  // Only then those that are given to whoever asks.
  for (int i = 0; i < 62; ++i) {
    const auto address = PickFree(subnet, network, taken);
    ASSERT_TRUE(address);
    EXPECT_TRUE(taken.insert(*address).second);
    EXPECT_LE(*address, *ReadIpv4("10.84.3.63"));
    EXPECT_NE(*address, subnet.bridge);
  }
  EXPECT_FALSE(PickFree(subnet, network, taken));
}

TEST(NetworkRules, HostsRarelyChooseTheSame) {
  std::set<uint32_t> chosen;
  for (int i = 0; i < 50; ++i) chosen.insert(*PickFree(*ReadSubnet("10.0.0.1/8"), {}, {}));
  EXPECT_GT(chosen.size(), 40u);
  // The first address that is not given to whoever asks is no likelier than others.
  const Config network = {{"ipv4.dhcp.ranges", "10.84.3.2-10.84.3.63"}};
  int first = 0;
  for (int i = 0; i < 400; ++i)
    first += *PickFree(*ReadSubnet("10.84.3.1/24"), network, {}) == *ReadIpv4("10.84.3.64") ? 1 : 0;
  EXPECT_LT(first, 40);
}

TEST(NetworkRules, ADifferenceIsWhatIsNotAsWanted) {
  const Config want = BridgeConfig("claraabc", "abc");
  EXPECT_THAT(want, testing::IsSupersetOf({Pair("ipv4.nat", "true"), Pair("ipv6.address", "none"),
                                           Pair("dns.mode", "none"), Pair("security.acls", "claraabc"),
                                           Pair("security.acls.default.egress.action", "reject"),
                                           Pair("security.acls.default.ingress.action", "drop")}));
  Config have = want;
  have.erase("ipv4.dhcp");
  have["ipv4.address"] = "10.84.3.1/24";
  have["raw.dnsmasq"] = "somebody's own";
  EXPECT_THAT(Differences(have, want), ElementsAre());
  have["dns.mode"] = "managed";
  have["ipv4.dhcp"] = "false";
  have.erase("security.acls");
  EXPECT_THAT(Differences(have, want),
              UnorderedElementsAre(Pair("dns.mode", "none"), Pair("ipv4.dhcp", "true"),
                                   Pair("security.acls", "claraabc")));
}

class Acl : public ::testing::Test {
 protected:
  const std::string note_ = "10.0.0.0/8";
  const std::vector<AddressRange> rejected_ = Ranges("10.0.0.0/8,203.0.113.7/32");
  const std::string body_ = AclBody("claraabc", "abc", note_, rejected_);

  bool Holds(const std::string& text) {
    auto doc = json::ParseObject(text);
    EXPECT_TRUE(doc) << text;
    return doc && AclHolds(*doc, note_, rejected_);
  }
  std::string With(std::string_view part, std::string_view other) {
    std::string out = body_;
    const size_t at = out.find(part);
    EXPECT_NE(at, std::string::npos) << part;
    return at == std::string::npos ? out : out.replace(at, part.size(), other);
  }
};

TEST_F(Acl, RejectsTheRangesAndAllowsTheRest) {
  EXPECT_EQ(body_,
            R"({"name":"claraabc","description":"clara-sandbox: out to public addresses only","config":{)"
            R"("user.clara-sandbox.installation":"abc","user.clara-sandbox.note":"10.0.0.0/8"},"egress":[)"
            R"({"action":"reject","destination":"10.0.0.0/8,203.0.113.7/32","state":"enabled"},)"
            R"({"action":"allow","state":"enabled"}],"ingress":[]})");
  EXPECT_TRUE(Holds(body_));
}

TEST_F(Acl, MoreThanIsWantedHolds) {
  EXPECT_TRUE(Holds(With("203.0.113.7/32", "203.0.113.0/24,198.51.100.0/24")));
}

TEST_F(Acl, WhatLetsMoreThroughDoesNot) {
  EXPECT_FALSE(Holds("{}"));
  EXPECT_FALSE(Holds(With(",203.0.113.7/32", "")));
  EXPECT_FALSE(Holds(With("10.0.0.0/8,203", "10.0.0.0/9,203"))) << "a part of the range only";
  EXPECT_FALSE(Holds(With("\"reject\"", "\"allow\"")));
  EXPECT_FALSE(Holds(With("\"state\":\"enabled\"", "\"state\":\"disabled\"")));
  EXPECT_FALSE(Holds(With("\"reject\",", "\"reject\",\"protocol\":\"tcp\",")));
  EXPECT_FALSE(Holds(With("\"reject\",", "\"reject\",\"source\":\"10.84.3.9/32\",")));
  EXPECT_FALSE(Holds(With("\"ingress\":[]", R"("ingress":[{"action":"allow","state":"enabled"}])")));
  EXPECT_FALSE(
      Holds(With("\"user.clara-sandbox.note\":\"10.0.0.0/8\"", R"("user.clara-sandbox.note":"10.0.0.0/9")")))
      << "written for another configuration";
  EXPECT_FALSE(Holds(With("\"egress\":[", "\"egress\":[7,")));
}

TEST(NetworkRules, WhatTheEngineTellsIsReadWithSuspicion) {
  auto leases = json::Parse(
      R"([{"address":"10.84.3.1"},{"address":"fd00::1"},{"address":7},3,{},{"address":"10.84.3.9"}])");
  EXPECT_THAT(ReadLeases(*leases), ElementsAre(*ReadIpv4("10.84.3.1"), *ReadIpv4("10.84.3.9")));
  EXPECT_THAT(ReadLeases(*json::Parse("{}")), ElementsAre());
  auto state = json::Parse(
      R"({"addresses":[{"family":"inet","address":"203.0.113.7","netmask":"24","scope":"global"},)"
      R"({"address":"127.0.0.1","scope":"local"},{"address":"fe80::1","scope":"link"},{"address":"0.0.0.0/0","scope":"global"},)"
      R"({"address":"2001:db8::7","scope":"global"},{"address":null},5]})");
  EXPECT_THAT(Texts(ReadAddresses(*state)), ElementsAre("203.0.113.7/32", "2001:db8::7/128"));
  EXPECT_THAT(Texts(ReadAddresses(*json::Parse(R"({"addresses":{}})"))), ElementsAre());
}

}  // namespace
}  // namespace csb::incus
