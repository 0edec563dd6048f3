// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/network.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <utility>

#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/http_fake_server.h"

namespace csb::incus {
namespace {

using csb::testing::Answer;
using csb::testing::FakeHost;
using csb::testing::FakeServer;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kBlocked[] = "10.0.0.0/8,169.254.0.0/16";

std::string Sync(const std::string& metadata) {
  return Answer(R"({"type":"sync","status_code":200,"error_code":0,"error":"","metadata":)" + metadata + "}");
}
std::string Failed(int code, const std::string& text) {
  return Answer(R"({"type":"error","error_code":)" + std::to_string(code) + R"(,"error":")" + text +
                    R"(","metadata":null})",
                std::to_string(code) + " No");
}

// A server with networks and lists: what is made there is there.
class NetworksTest : public ::testing::Test {
 protected:
  NetworksTest() {
    options_.blocked_ranges = kBlocked;
    options_.limits.network = "bridge";
    server_ = std::make_unique<FakeServer>([this](FakeServer::Peer& peer) {
      for (std::string request; !(request = peer.Request()).empty();)
        if (!peer.Send(Serve(request))) return;
    });
    reactor_ = *Reactor::Create("network-test");
    engine_ = std::make_unique<Engine>(*reactor_, *HttpClient::Create(*reactor_, server_->endpoint()), "p");
  }
  ~NetworksTest() override {
    networks_.reset();
    engine_.reset();
    server_.reset();
  }

  Result<Attachment> Prepare() {
    if (!networks_) networks_ = std::make_unique<Networks>(host_.ref(), *engine_, options_, names_);
    return networks_->Prepare(options_.limits);
  }

  std::string Serve(const std::string& request) {
    const std::lock_guard lock(mutex_);
    const std::string line = request.substr(0, request.find(" HTTP/"));
    const std::string body = request.substr(request.find("\r\n\r\n") + 4);
    const std::string name = names_.Bridge();
    lines_.push_back(line);
    if (line == "GET /1.0?project=p")
      return Sync(R"({"auth":"trusted","environment":{"server_version":"6.0.4","server_clustered":false}})");
    if (line.starts_with("GET /1.0/network-acls/"))
      return acl_.empty() ? Failed(404, "Network ACL not found") : Sync(acl_);
    if (line.starts_with("PUT /1.0/network-acls/") && acl_.empty())
      return Failed(404, "Network ACL not found");
    if (line.starts_with("POST /1.0/network-acls") || line.starts_with("PUT /1.0/network-acls/")) {
      if (acl_stays_) acl_ = body;
      if (!acl_error_.empty() && acl_errors_-- > 0) return Failed(500, acl_error_);
      acl_ = body;
      return Sync("{}");
    }
    if (line.starts_with("POST /1.0/networks")) {
      if (!appears_.empty()) config_ = std::exchange(appears_, {});
      if (!create_error_.empty()) return Failed(create_code_, create_error_);
      status_ = "Created";
      Take(body);
      config_["ipv4.address"] = "10.84.3.1/24";
      return Sync("{}");
    }
    if (line.starts_with("PATCH /1.0/networks/")) {
      Take(body);
      if (config_["ipv4.address"] == "auto") config_["ipv4.address"] = "10.84.9.1/24";
      return Sync("{}");
    }
    if (line == "GET /1.0/networks?project=default&recursion=1")
      return Sync(
          R"([{"name":"lo","type":"loopback"},{"name":"eth1","type":"physical"},{"name":"gone","type":"bridge"}])");
    if (line == "GET /1.0/networks/eth1/state?project=default")
      return Sync(
          R"({"addresses":[{"address":"203.0.113.7","scope":"global"},{"address":"fe80::1","scope":"link"}]})");
    if (line.ends_with("/leases?project=p")) return Sync(leases_);
    if (line == "GET /1.0/networks/" + network_name_ + "?project=p" && !config_.empty()) return Sync(Shown());
    return Failed(404, "Network not found");
  }
  // The config of a request's body.
  void Take(const std::string& body) {
    auto doc = json::ParseObject(body);
    ASSERT_TRUE(doc);
    for (const auto& member : json::Find(*doc, "config")->GetObject())
      config_[member.name.GetString()] = member.value.GetString();
  }
  std::string Shown() {
    std::string config;
    for (const auto& [key, value] : config_)
      config += (config.empty() ? "\"" : ",\"") + key + "\":\"" + value + "\"";
    return R"({"name":")" + network_name_ + R"(","type":")" + type_ + R"(","managed":true,"status":")" +
           status_ + R"(","config":{)" + config + "}}";
  }
  // Requests that begin so.
  size_t Count(std::string_view start) {
    const std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count_if(lines_.begin(), lines_.end(),
                                             [&](const auto& line) { return line.starts_with(start); }));
  }
  size_t Changes() { return Count("P"); }

  FakeHost host_;
  Options options_;
  Names names_{"/s", "/r", "abcdefgh1234"};
  std::mutex mutex_;
  std::vector<std::string> lines_;
  std::string acl_, acl_error_, create_error_, leases_ = "[]", type_ = "bridge", status_ = "Created";
  std::string network_name_ = names_.Bridge();
  int create_code_ = 500;
  int acl_errors_ = 1000;
  bool acl_stays_ = false;
  Config config_, appears_;
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Networks> networks_;
};

TEST_F(NetworksTest, NoneAsksNobody) {
  options_.limits.network = "none";
  const auto none = Prepare();
  ASSERT_TRUE(none);
  EXPECT_EQ(none->network, "");
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(NetworksTest, ABridgeIsMadeWithItsListOnce) {
  const auto first = Prepare();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->network, "claraabcdefgh");
  EXPECT_TRUE(first->ours);
  EXPECT_EQ(first->gateway, "10.84.3.1");
  EXPECT_EQ(first->prefix, "24");
  EXPECT_THAT(first->address, StartsWith("10.84.3."));
  EXPECT_EQ(config_["security.acls"], "claraabcdefgh");
  EXPECT_EQ(config_["security.acls.default.egress.action"], "reject");
  EXPECT_EQ(config_["dns.mode"], "none");
  EXPECT_EQ(config_["ipv4.dhcp.ranges"], "10.84.3.2-10.84.3.63");
  EXPECT_THAT(acl_, AllOf(HasSubstr("10.0.0.0/8"), HasSubstr("169.254.0.0/16"), HasSubstr("203.0.113.7/32"),
                          Not(HasSubstr("fe80::1"))));
  // The list is there before the network is.
  const auto at = [&](std::string_view start) {
    return std::find_if(lines_.begin(), lines_.end(),
                        [&](const auto& line) { return line.starts_with(start); });
  };
  EXPECT_LT(at("POST /1.0/network-acls"), at("POST /1.0/networks"));
  const size_t changes = Changes();
  const auto second = Prepare();
  ASSERT_TRUE(second);
  EXPECT_NE(second->address, first->address) << "one is not given away twice";
  EXPECT_EQ(Changes(), changes);
  networks_.reset();  // another host process
  ASSERT_TRUE(Prepare());
  EXPECT_EQ(Changes(), changes) << "what is as it should be is not written again";
}

TEST_F(NetworksTest, TheBridgesOwnRangeIsRejectedWhateverIsConfigured) {
  options_.blocked_ranges = "";
  ASSERT_TRUE(Prepare());
  EXPECT_THAT(acl_, HasSubstr("10.84.3.0/24"));
}

TEST_F(NetworksTest, ABridgeThatDiffersIsPutRight) {
  ASSERT_TRUE(Prepare());
  config_["dns.mode"] = "managed";
  config_["raw.dnsmasq"] = "kept";
  config_.erase("security.acls");
  acl_ = R"({"config":{},"egress":[],"ingress":[]})";
  networks_.reset();
  ASSERT_TRUE(Prepare());
  EXPECT_EQ(config_["dns.mode"], "none");
  EXPECT_EQ(config_["security.acls"], "claraabcdefgh");
  EXPECT_EQ(config_["raw.dnsmasq"], "kept");
  EXPECT_THAT(acl_, HasSubstr("169.254.0.0/16"));
  EXPECT_EQ(Count("PATCH"), 2u);
}

TEST_F(NetworksTest, ABridgeWithoutAddressesGetsSome) {
  ASSERT_TRUE(Prepare());
  config_["ipv4.address"] = "none";
  networks_.reset();
  const auto prepared = Prepare();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->gateway, "10.84.9.1");
}

TEST_F(NetworksTest, AnotherHostThatWasFasterIsNoError) {
  for (const auto& [code, words] :
       {std::pair(409, "The network already exists"), {500, "The network is already created"}}) {
    create_error_ = words;
    create_code_ = code;
    config_ = {};
    networks_.reset();
    EXPECT_THAT(Prepare().error().message, HasSubstr(words)) << "it is not there after all";
    appears_ = {{"ipv4.address", "10.84.3.1/24"}};
    const auto prepared = Prepare();
    EXPECT_TRUE(prepared) << prepared.error().message;
  }
}

TEST_F(NetworksTest, OneThatWasBegunInAClusterIsMade) {
  status_ = "Pending";
  config_ = {{"user.x", "y"}};
  const auto prepared = Prepare();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(Count("POST /1.0/networks?"), 1u);
}

TEST_F(NetworksTest, WithoutAListThereIsNoNetwork) {
  acl_error_ = "Failed to apply: nft: command not found";
  auto failed = Prepare();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("nft: command not found"));
  EXPECT_THAT(failed.error().hint, HasSubstr("nftables"));
  EXPECT_EQ(Count("POST /1.0/networks"), 0u);
  acl_error_.clear();
  create_error_ = "Failed applying ACL rules: nft";
  failed = Prepare();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().hint, HasSubstr("nftables"));
}

TEST_F(NetworksTest, AListThatDidNotGetEverywhereIsWrittenAgain) {
  ASSERT_TRUE(Prepare());
  options_.blocked_ranges = "10.0.0.0/8,169.254.0.0/16,192.168.0.0/16";
  acl_error_ = "peer node 10.210.0.3:8443 is down";
  acl_stays_ = true;  // in the database
  networks_.reset();
  EXPECT_FALSE(Prepare());
  EXPECT_THAT(acl_, HasSubstr("192.168.0.0/16"));
  acl_error_.clear();
  const size_t changes = Changes();
  EXPECT_TRUE(Prepare());
  EXPECT_GT(Changes(), changes);
}

TEST_F(NetworksTest, AFirewallThatAnotherHostJustMakesIsTriedAgain) {
  acl_error_ = "Failed to run: nft -f -: exit status 1";
  acl_errors_ = 2;
  const auto prepared = Prepare();
  EXPECT_TRUE(prepared) << prepared.error().message;
}

TEST_F(NetworksTest, OneThatFailedOnAMemberIsFinished) {
  ASSERT_TRUE(Prepare());
  status_ = "Errored";
  lines_.clear();
  networks_.reset();
  ASSERT_TRUE(Prepare());
  EXPECT_EQ(Count("POST /1.0/networks?project=p"), 1u);
  EXPECT_EQ(status_, "Created");
}

TEST_F(NetworksTest, AForeignOrBrokenNetworkOfItsNameIsTold) {
  ASSERT_TRUE(Prepare());
  networks_.reset();
  type_ = "macvlan";
  EXPECT_THAT(Prepare().error().message, HasSubstr("not one of ours"));
  type_ = "bridge";
  status_ = "Unavailable";
  EXPECT_THAT(Prepare().error().message, HasSubstr("Unavailable"));
  status_ = "Created";
  EXPECT_TRUE(Prepare()) << "a failure is not remembered";
}

TEST_F(NetworksTest, WrongRangesAreTheConfigurations) {
  options_.blocked_ranges = "10.0.0.0/8, 192.168.0.0/16";
  const auto failed = Prepare();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, CSB_E_INVALID);
  EXPECT_EQ(Changes(), 0u);
}

TEST_F(NetworksTest, AddressesThatOthersHaveAreNotGiven) {
  leases_ = "[";
  for (int i = 64; i < 254; ++i) leases_ += R"({"address":"10.84.3.)" + std::to_string(i) + R"("},)";
  leases_ += R"({"address":"10.84.3.1"}])";
  EXPECT_EQ(Prepare()->address, "10.84.3.254");
  std::set<std::string> rest;
  for (int i = 0; i < 62; ++i) rest.insert(Prepare()->address);
  EXPECT_THAT(rest, SizeIs(62));
  const auto full = Prepare();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, CSB_E_NO_CAPACITY);
}

TEST_F(NetworksTest, WhereTheImageAsksForAnAddressNoneIsGiven) {
  options_.boot = Boot::kImage;
  auto prepared = Prepare();
  ASSERT_TRUE(prepared);
  EXPECT_EQ(prepared->address, "");
  EXPECT_TRUE(prepared->ours);
  options_.boot = Boot::kAgent;
  options_.vm = true;
  EXPECT_EQ(Prepare()->address, "");
}

TEST_F(NetworksTest, ANamedNetworkIsJoinedAsItIs) {
  network_name_ = options_.limits.network = "lan";
  auto missing = Prepare();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, CSB_E_NOT_FOUND);
  EXPECT_THAT(missing.error().message, HasSubstr("lan"));
  EXPECT_THAT(missing.error().hint, HasSubstr("incus network create lan"));
  config_ = {{"ipv4.address", "192.0.2.1/24"}};
  const auto joined = Prepare();
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_FALSE(joined->ours);
  EXPECT_EQ(joined->network, "lan");
  EXPECT_EQ(joined->gateway, "192.0.2.1");
  type_ = "macvlan";
  EXPECT_THAT(Prepare().error().hint, HasSubstr("incus.boot=image"));
  options_.boot = Boot::kImage;
  EXPECT_TRUE(Prepare());
  EXPECT_EQ(Changes(), 0u);
}

TEST(AddressTaken, IsToldByTheEnginesWords) {
  EXPECT_TRUE(
      IsAddressTaken({CSB_E_UNAVAILABLE,
                      "cannot create the instance m: Failed start validation for device \"eth0\": IP address "
                      "\"10.183.188.51\" already defined on another NIC",
                      "", true}));
  EXPECT_FALSE(IsAddressTaken({CSB_E_CONFLICT, "cannot create the instance m: already exists", "", false}));
}

}  // namespace
}  // namespace csb::incus
