// SPDX-License-Identifier: Apache-2.0
//
// trust.h on a real engine that listens on the network, as tests/engines/incus.sh --https PORT tells of it:
// CSB_TEST_INCUS_HTTPS (host:port), CSB_TEST_INCUS_SOCKET. Skipped without them, unless CSB_MUST_RUN names
// incus-https.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/base64.h"
#include "plugins/common/http_client.h"
#include "plugins/common/small_file.h"
#include "plugins/common/temporary_folder.h"
#include "plugins/incus/certificate.h"
#include "plugins/incus/remotes.h"
#include "plugins/incus/trust.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class TrustReal : public ::testing::Test {
 protected:
  void SetUp() override {
    address_ = Env("CSB_TEST_INCUS_HTTPS");
    const std::string socket = Env("CSB_TEST_INCUS_SOCKET");
    if (address_.empty() || socket.empty()) {
      ASSERT_EQ(("," + Env("CSB_MUST_RUN") + ",").find(",incus-https,"), std::string::npos)
          << "CSB_MUST_RUN names incus-https, and there is no engine that listens";
      GTEST_SKIP() << "no engine that listens: see tests/engines/README.md";
    }
    auto client = HttpClient::Create(*reactor_, {.url = "http://incus", .unix_socket = socket});
    ASSERT_TRUE(client) << client.error().message;
    admin_ = *std::move(client);
  }
  void TearDown() override {
    auto mine = FindIdentity(state_);
    if (!admin_ || !mine) return;
    const std::string print = *FingerprintOf(*ReadSmallFile(mine->certificate));
    EXPECT_TRUE(admin_->Call({.method = "DELETE", .target = "/1.0/certificates/" + print}));
  }
  // As `incus config trust add` makes it, of the answer's parts.
  std::string Token(const std::string& more = "") {
    auto answer = admin_->Call({.method = "POST",
                                .target = "/1.0/certificates",
                                .body = R"({"name":"csb-test","type":"client","token":true)" + more + "}"});
    EXPECT_TRUE(answer);
    auto body = json::ParseObject(answer->body);
    const json::Value* operation = json::Find(*body, "metadata");
    const json::Value* parts = operation == nullptr ? nullptr : json::Find(*operation, "metadata");
    if (parts == nullptr) {
      ADD_FAILURE() << answer->body;
      return "";
    }
    secret_ = json::GetString(*parts, "secret").value_or("");
    return base64::Encode(R"({"client_name":"csb-test","fingerprint":")" +
                          std::string(json::GetString(*parts, "fingerprint").value_or("")) +
                          R"(","addresses":[")" + address_ + R"("],"secret":")" + secret_ +
                          R"(","expires_at":"0001-01-01T00:00:00Z"})");
  }
  Result<Trusted> Trust(const std::string& text) {
    auto token = ParseToken(text);
    if (!token) return token.error();
    return TrustServer(*token, state_, [](const std::string&) {});
  }
  std::string Auth(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    if (!client) return client.error().message;
    auto answer = (*client)->Call({.target = "/1.0", .timeout = 20s});
    if (!answer) return answer.error().message;
    auto body = json::ParseObject(answer->body);
    const json::Value* metadata = body ? json::Find(*body, "metadata") : nullptr;
    return metadata == nullptr ? "" : std::string(json::GetString(*metadata, "auth").value_or(""));
  }

  TemporaryFolder folder_;
  const std::string state_ = folder_ / "state/incus";
  std::string address_, secret_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("trust-real");
  std::unique_ptr<HttpClient> admin_;
};

TEST_F(TrustReal, ATokenMakesTrustOnce) {
  const std::string url = "https://" + address_;
  EXPECT_EQ(FindRemote(url, state_, {}).error().code, CSB_E_UNAUTHORIZED);
  const std::string text = Token();
  auto trusted = Trust(text);
  ASSERT_TRUE(trusted) << trusted.error().message;
  EXPECT_FALSE(trusted->already);
  EXPECT_NE(trusted->version, "");
  EXPECT_THAT(trusted->projects, ::testing::Contains("default"));
  auto remote = FindRemote(url, state_, {});
  ASSERT_TRUE(remote) << remote.error().message;
  EXPECT_EQ(Auth(remote->endpoint), "trusted");
  // Again, and by somebody else.
  trusted = Trust(text);
  ASSERT_TRUE(trusted) << trusted.error().message;
  EXPECT_TRUE(trusted->already);
  auto token = ParseToken(text);
  auto other = TrustServer(*token, folder_ / "other", [](const std::string&) {});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, CSB_E_FORBIDDEN);
  EXPECT_THAT(other.error().message, HasSubstr("does not take the token"));
  EXPECT_FALSE(FindRemote(url, folder_ / "other", {}));
}

TEST_F(TrustReal, OnlyThePinnedServerIsBelieved) {
  ASSERT_TRUE(Trust(Token()));
  auto remote = FindRemote("https://" + address_, state_, {});
  ASSERT_TRUE(remote);
  auto stranger = OwnIdentity(folder_ / "stranger");
  ASSERT_TRUE(stranger);
  HttpEndpoint endpoint = remote->endpoint;
  endpoint.ca = stranger->certificate;
  EXPECT_THAT(Auth(endpoint), HasSubstr("GET /1.0: TLS: "));
  endpoint = remote->endpoint;
  endpoint.certificate = stranger->certificate;
  endpoint.key = stranger->key;
  EXPECT_EQ(Auth(endpoint), "untrusted");
}

TEST_F(TrustReal, ARestrictedTokenTellsItsProject) {
  ASSERT_TRUE(admin_->Call({.method = "POST",
                            .target = "/1.0/projects",
                            .body = R"({"name":"csb-trust","config":{"features.images":"false"}})"}));
  auto trusted = Trust(Token(R"(,"restricted":true,"projects":["csb-trust"])"));
  EXPECT_TRUE(trusted) << trusted.error().message;
  if (trusted) {
    EXPECT_THAT(trusted->projects, ::testing::ElementsAre("csb-trust"));
  }
  TearDown();  // the certificate holds the project
  EXPECT_TRUE(admin_->Call({.method = "DELETE", .target = "/1.0/projects/csb-trust"}));
}

// The incus client's own remote, made by the client's means: its certificate, its pin.
TEST_F(TrustReal, ARemoteOfTheClientsIsUsedAsItIs) {
  const std::string clients = folder_ / "clients";
  auto theirs = TrustServer(*ParseToken(Token()), clients, [](const std::string&) {});
  ASSERT_TRUE(theirs) << theirs.error().message;
  std::filesystem::create_directories(clients + "/servercerts");
  std::filesystem::copy_file(PinOf(clients, *ParseAddress(address_)), clients + "/servercerts/lab.crt");
  std::ofstream(clients + "/config.yml")
      << "remotes:\n  lab:\n    addr: https://" << address_ << "\n    protocol: incus\n";
  for (const std::string& name : {std::string("lab"), "https://" + address_}) {
    auto remote = FindRemote(name, state_, {clients});
    ASSERT_TRUE(remote) << remote.error().message;
    EXPECT_EQ(Auth(remote->endpoint), "trusted");
  }
  const std::string print = *FingerprintOf(*ReadSmallFile(clients + "/client.crt"));
  EXPECT_TRUE(admin_->Call({.method = "DELETE", .target = "/1.0/certificates/" + print}));
}

}  // namespace
}  // namespace csb::incus
