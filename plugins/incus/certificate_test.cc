// SPDX-License-Identifier: Apache-2.0
//
// address.h and certificate.h: our own pair under every accident, and the fingerprints that servers show.
#include "plugins/incus/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "plugins/common/http_fake_server.h"
#include "plugins/common/small_file.h"
#include "plugins/common/temporary_folder.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Made by openssl; `openssl x509 -fingerprint -sha256` says what stands below.
constexpr char kKnown[] = R"(-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUehtJLg1FBjAPXhl2JZKaOa3dikUwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFa25vd24wIBcNMjYxMTI3MDcxMzM1WhgPMjEyNjExMDMwNzEz
MzVaMBAxDjAMBgNVBAMMBWtub3duMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
WcdE/6Xk1iqjGpQ34/XtpgWENNOC9JYVUPRjymOlStABAqVWQx6pKQxhfwxXUa1b
c+hGYCwGLBkt/wawG2IqBaNTMFEwHQYDVR0OBBYEFFM8g6e9REEiYPgUSCSyxEz1
kROiMB8GA1UdIwQYMBaAFFM8g6e9REEiYPgUSCSyxEz1kROiMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAOOcqLW/gtaXQFBVUBZFDbk1lnzOZOZu
Pa60zMVVbbCbAiAOFDkW0UydD6XsYLeXrplzmH7KcuH1GbIt6tu97F52bA==
-----END CERTIFICATE-----
)";
constexpr char kKnownFingerprint[] = "27b6b3d1a03ac41146115e78211146a75e1b3cf2084821e0e22210e28f597a64";

TEST(Address, IsWhatTokensAndUsersWrite) {
  const auto url = [](const char* text) {
    auto address = ParseAddress(text);
    return address ? address->Url() + " " + address->FileName() : address.error().message;
  };
  EXPECT_EQ(url("10.0.0.5:8443"), "https://10.0.0.5:8443 10.0.0.5_8443");
  EXPECT_EQ(url("https://Incus.Example/"), "https://incus.example:8443 incus.example_8443");
  EXPECT_EQ(url("[fd42::1]:18443"), "https://[fd42::1]:18443 fd42--1_18443");
  EXPECT_EQ(url("https://[::1]"), "https://[::1]:8443 --1_8443");
  for (const char* wrong :
       {"",           "https://",    "a b",           "host:",    "host:0",    "host:65536",
        "host:8443x", "host:-1",     "host/path",     "../etc",   "user@host", "[::1",
        "[::1]8443",  "[host]:1",    "::1",           "host:1:2", "-x",        ".",
        "a\nb",       "https://h?x", "http://host:1", "[]:1",     "h\xff"})
    EXPECT_FALSE(ParseAddress(wrong)) << wrong;
  EXPECT_FALSE(ParseAddress(std::string(1000, 'a')));
}

TEST(Certificate, FingerprintsAreThoseOfTheServersOwnTools) {
  auto pem = FingerprintOf(kKnown);
  ASSERT_TRUE(pem) << pem.error().message;
  EXPECT_EQ(*pem, kKnownFingerprint);
  for (const std::string& wrong :
       {std::string(), std::string("text"), std::string(1 << 20, 'x'), std::string(kKnown).substr(0, 200),
        std::string("\x30\x84\xff\xff\xff\xff", 6)})
    EXPECT_FALSE(FingerprintOf(wrong));
}

class OwnIdentityTest : public ::testing::Test {
 protected:
  std::string Text(const std::string& name) { return *ReadSmallFile(state_ + "/" + name); }
  std::string Make() {
    auto made = OwnIdentity(state_);
    return made ? *ReadSmallFile(made->certificate) : made.error().message;
  }
  TemporaryFolder folder_;
  const std::string state_ = folder_ / "state/incus";
};

TEST_F(OwnIdentityTest, IsMadeOnceAndForItsUserOnly) {
  EXPECT_EQ(FindIdentity(state_).error().code, CSB_E_NOT_FOUND);
  const std::string first = Make();
  EXPECT_THAT(first, HasSubstr("BEGIN CERTIFICATE"));
  EXPECT_EQ(Make(), first);
  EXPECT_TRUE(FindIdentity(state_));
  for (const char* name : {"client.crt", "client.key"}) {
    struct stat info {};
    ASSERT_EQ(stat((state_ + "/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(OwnIdentityTest, WhatIsBrokenIsToldAndLeftAlone) {
  Make();
  const std::string key = Text("client.key");
  std::ofstream(state_ + "/client.key") << "no key";
  auto found = OwnIdentity(state_);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, CSB_E_INVALID);
  EXPECT_THAT(found.error().message, HasSubstr("client.key is no key"));
  EXPECT_EQ(Text("client.key"), "no key");
  auto other = OwnIdentity(folder_ / "other");
  ASSERT_TRUE(other);
  std::ofstream(state_ + "/client.key") << *ReadSmallFile(other->key);
  EXPECT_THAT(OwnIdentity(state_).error().message, HasSubstr("is not the key of"));
  std::ofstream(state_ + "/client.key") << key;
  std::ofstream(state_ + "/client.crt") << "no certificate";
  EXPECT_THAT(OwnIdentity(state_).error().message, HasSubstr("client.crt is no certificate"));
}

// A process that was killed on its way leaves one of the two, or unfinished files.
TEST_F(OwnIdentityTest, HalfAPairIsMadeAnew) {
  const std::string first = Make();
  for (const char* gone : {"client.crt", "client.key"}) {
    ASSERT_EQ(unlink((state_ + "/" + gone).c_str()), 0);
    std::ofstream(state_ + "/client.key.aB3dE6") << "unfinished";
    EXPECT_THAT(Make(), HasSubstr("BEGIN CERTIFICATE"));
    EXPECT_NE(Make(), first);
    EXPECT_FALSE(Exists(state_ + "/client.key.aB3dE6"));
  }
}

TEST_F(OwnIdentityTest, ProcessesAtOnceEndWithTheSamePair) {
  std::vector<pid_t> children;
  int go[2];
  ASSERT_EQ(pipe(go), 0);
  for (int i = 0; i < 6; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(go[1]);
      char c = 0;
      if (read(go[0], &c, 1) != 0) _exit(9);  // all of them start when the other end closes
      const std::string made = Make();
      const Status written = ReplaceSmallFile(folder_ / std::to_string(i), made);
      _exit(written && made.find("BEGIN CERTIFICATE") != std::string::npos ? 0 : 1);
    }
    children.push_back(child);
  }
  close(go[0]);
  close(go[1]);
  std::set<std::string> seen;
  for (size_t i = 0; i < children.size(); ++i) {
    int status = 0;
    ASSERT_EQ(waitpid(children[i], &status, 0), children[i]);
    EXPECT_EQ(status, 0);
    seen.insert(*ReadSmallFile(folder_ / std::to_string(i)));
  }
  EXPECT_EQ(seen.size(), 1u);
}

TEST(FetchServerCertificate, SaysWhoDoesNotAnswer) {
  testing::FakeServer silent([](testing::FakeServer::Peer& peer) { peer.Request(); },
                             testing::FakeServer::Kind::kTcp);
  auto address = ParseAddress(silent.endpoint().url.substr(7));
  ASSERT_TRUE(address);
  const auto began = std::chrono::steady_clock::now();
  auto fetched = FetchServerCertificate(*address, 300ms);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(fetched.error().message, ::testing::StartsWith(address->Url() + ": "));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  testing::FakeServer no_tls([](testing::FakeServer::Peer& peer) { peer.Send(testing::Answer("{}")); },
                             testing::FakeServer::Kind::kTcp);
  address = ParseAddress(no_tls.endpoint().url.substr(7));
  fetched = FetchServerCertificate(*address, 10s);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, CSB_E_UNAVAILABLE);
}

}  // namespace
}  // namespace csb::incus
