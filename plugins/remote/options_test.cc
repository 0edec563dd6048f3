// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/options.h"

#include <gmock/gmock.h>

#include "clara_sandbox/testing/fake_host.h"

namespace csb::remote {
namespace {

using csb::testing::FakeHost;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using namespace std::chrono_literals;

const std::string kPin = "sha256//" + std::string(43, 'A') + "=";

Result<Options> Read(FakeHost::Options options) {
  const FakeHost host(std::move(options));
  return ReadOptions(host.ref());
}

TEST(Options, WithoutAnAddressItIsNotUsed) {
  const auto o = Read({});
  ASSERT_TRUE(o) << o.error().message;
  EXPECT_THAT(o->addresses, IsEmpty());
  EXPECT_EQ(o->request_timeout, 60s);
  EXPECT_EQ(o->retries, 2);
  EXPECT_FALSE(o->shared);
  EXPECT_FALSE(o->in_clear);
}

TEST(Options, AllAreTaken) {
  const auto o = Read({{"remote.url", "https://a.example/base/, http://127.0.0.1:8080 ,,https://[::1]:8443"},
                       {"remote.api_key", "s3cret"},
                       {"remote.request_timeout", "2.5"},
                       {"remote.connect_timeout", "0.25"},
                       {"remote.ca", "/etc/ca.pem"},
                       {"remote.pinned_key", kPin + ";" + kPin},
                       {"remote.retries", "0"},
                       {"remote.shared", "1"}});
  ASSERT_TRUE(o) << o.error().message;
  ASSERT_THAT(o->addresses, SizeIs(3));
  EXPECT_EQ(o->addresses[0].text, "https://a.example/base");
  EXPECT_EQ(o->addresses[0].endpoint.url, "https://a.example");
  EXPECT_EQ(o->addresses[0].base, "/base");
  EXPECT_EQ(o->addresses[1].text, "http://127.0.0.1:8080");
  EXPECT_EQ(o->addresses[2].endpoint.url, "https://[::1]:8443");
  for (const Address& address : o->addresses) {
    EXPECT_EQ(address.endpoint.ca, "/etc/ca.pem");
    EXPECT_EQ(address.endpoint.pinned_key, kPin + ";" + kPin);
    EXPECT_EQ(address.endpoint.connect_timeout, 250ms);
    EXPECT_TRUE(address.endpoint.verify);
    EXPECT_FALSE(address.endpoint.any_name);
    EXPECT_TRUE(address.endpoint.proxy_from_environment);
  }
  EXPECT_EQ(o->key, "s3cret");
  EXPECT_EQ(o->request_timeout, 2500ms);
  EXPECT_EQ(o->retries, 0);
  EXPECT_TRUE(o->shared);
}

TEST(Options, AnAddressThatIsNoneIsRefusedByName) {
  for (const char* url : {"sandbox.example", "ftp://a.example", "https://", "https:///path", "unix:///run/x",
                          "https://a?x=1", "https://a#b", "https://a/b?c", "https://a/b#c", "https://a/b\tc",
                          "https://a/\xC3\xA4", "://a", "https://a,https://a/"}) {
    const auto o = Read({{"remote.url", url}});
    ASSERT_FALSE(o) << url;
    EXPECT_EQ(o.error().code, CSB_E_INVALID) << url;
    EXPECT_THAT(o.error().message, HasSubstr("remote.url")) << url;
  }
}

TEST(Options, APasswordInAnAddressIsNotRepeated) {
  for (const char* url :
       {"https://me:hunter2@a.example", "https://hunter2@a.example/x", "http://:hunter2@a"}) {
    const auto o = Read({{"remote.url", url}});
    ASSERT_FALSE(o) << url;
    EXPECT_THAT(o.error().message, AllOf(HasSubstr("password"), Not(HasSubstr("hunter2")))) << url;
  }
}

TEST(Options, AKeyIsWhatAHeaderCanCarry) {
  for (const std::string& key : {std::string("s3 cret"), std::string("s3\r\nX: y"), std::string("s3\0b", 4),
                                 std::string("s3\xC3\xA4")}) {
    const auto o = Read({{"remote.url", "https://a"}, {"remote.api_key", key}});
    ASSERT_FALSE(o) << key;
    EXPECT_THAT(o.error().message, AllOf(HasSubstr("remote.api_key"), Not(HasSubstr(key))));
  }
}

TEST(Options, APinIsOneThatCurlKnows) {
  for (const std::string& pin : {std::string("sha256//short="), "sha1//" + std::string(43, 'A') + "=",
                                 kPin + ";x", std::string("/etc/key.pem"), kPin + kPin})
    EXPECT_FALSE(Read({{"remote.url", "https://a"}, {"remote.pinned_key", pin}})) << pin;
}

// A warning is due where somebody can listen.
TEST(Options, AKeyInClearIsSeen) {
  const auto in_clear = [](const std::string& url, const std::string& key = "k") {
    const auto o = Read({{"remote.url", url}, {"remote.api_key", key}});
    EXPECT_TRUE(o) << url;
    return o && o->in_clear;
  };
  for (const char* url :
       {"http://a.example", "http://10.0.0.1:80", "https://a,http://b", "http://127.evil.example",
        "http://127.0.0.1.nip.example", "http://localhost.example", "http://[::2]", "http://[fe80::1]"})
    EXPECT_TRUE(in_clear(url)) << url;
  for (const char* url : {"https://a.example", "http://127.0.0.1", "http://127.9.9.9:8080/x",
                          "http://localhost:1", "http://[::1]:8080"})
    EXPECT_FALSE(in_clear(url)) << url;
  EXPECT_FALSE(in_clear("http://a.example", ""));
}

TEST(Options, EachIsDeclaredWithWords) {
  for (const csb_option& option : DeclaredOptions()) {
    EXPECT_THAT(std::string(option.key), ::testing::StartsWith("remote."));
    EXPECT_GT(std::string(option.help).size(), 20u) << option.key;
  }
}

}  // namespace
}  // namespace csb::remote
