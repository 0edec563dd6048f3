// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/remotes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "plugins/common/temporary_folder.h"
#include "plugins/incus/certificate.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;

class RemotesTest : public ::testing::Test {
 protected:
  RemotesTest() {
    for (const char* name : {"INCUS_SOCKET", "INCUS_DIR"}) unsetenv(name);
    std::filesystem::create_directories(clients_ + "/servercerts");
    std::ofstream(clients_ + "/config.yml") << R"(remotes:
  lab: {addr: 'https://10.0.0.5:8443', protocol: incus, project: team}
  public: {addr: 'https://10.0.0.6:8443', protocol: incus, public: true}
  sso: {addr: 'https://10.0.0.7:8443', protocol: incus, auth_type: oidc}
  signed: {addr: 'https://incus.example', protocol: incus}
  here: {addr: 'unix:///run/other.socket'}
  local: {addr: 'unix://'}
  odd: {addr: 'ftp://x', protocol: incus}
  ubuntu: {addr: 'https://cloud-images.ubuntu.com/releases/', protocol: simplestreams, public: true}
)";
    std::ofstream(clients_ + "/servercerts/lab.crt") << "LAB\n";
  }
  ~RemotesTest() override {
    for (const char* name : {"INCUS_SOCKET", "INCUS_DIR"}) unsetenv(name);
  }
  void MakePair(const std::string& folder) { ASSERT_TRUE(OwnIdentity(folder)); }
  Result<Remote> Find(const std::string& name) { return FindRemote(name, state_, {clients_}); }
  std::string Socket(const std::string& name) {
    auto found = Find(name);
    return found ? found->endpoint.unix_socket : found.error().message;
  }
  Error Refusal(const std::string& name) {
    auto found = Find(name);
    EXPECT_FALSE(found) << name;
    return found ? Error{} : found.error();
  }
  TemporaryFolder folder_;
  const std::string state_ = folder_ / "state", clients_ = folder_ / "clients";
};

TEST_F(RemotesTest, LocalIsTheSocketThatTheClientWouldUse) {
  EXPECT_THAT(Socket("local"), ::testing::AnyOf("/var/lib/incus/unix.socket", "/run/incus/unix.socket"));
  EXPECT_EQ(Socket(""), Socket("local"));
  setenv("INCUS_DIR", "/srv/incus", 1);
  EXPECT_EQ(Socket("local"), "/srv/incus/unix.socket");
  setenv("INCUS_SOCKET", "/srv/incus.socket", 1);
  EXPECT_EQ(Socket("local"), "/srv/incus.socket");
  EXPECT_EQ(Socket("unix:///x/y"), "/x/y");
  EXPECT_EQ(Socket("here"), "/run/other.socket");
  EXPECT_EQ(Find("local")->name, "local");
  EXPECT_THAT(Socket("unix://x"), HasSubstr("no absolute path"));
}

TEST_F(RemotesTest, AServerIsFoundByOurPin) {
  Error error = Refusal("https://10.0.0.9:8443");
  EXPECT_EQ(error.code, CSB_E_UNAUTHORIZED);
  EXPECT_THAT(error.message, HasSubstr("https://10.0.0.9:8443: nobody has told us to trust"));
  EXPECT_THAT(error.hint, HasSubstr("clara-sandbox incus trust TOKEN"));
  const std::string pin = PinOf(state_, *ParseAddress("10.0.0.9"));
  EXPECT_EQ(pin, state_ + "/servers/10.0.0.9_8443.crt");
  std::filesystem::create_directories(state_ + "/servers");
  std::ofstream(pin) << "PEM";
  EXPECT_EQ(Refusal("https://10.0.0.9:8443").code, CSB_E_UNAUTHORIZED);  // our own certificate is gone
  MakePair(state_);
  auto found = Find("https://10.0.0.9/");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->endpoint.url, "https://10.0.0.9:8443");
  EXPECT_EQ(found->endpoint.ca, pin);
  EXPECT_EQ(found->endpoint.certificate, state_ + "/client.crt");
  EXPECT_EQ(found->endpoint.key, state_ + "/client.key");
  EXPECT_TRUE(found->endpoint.any_name && found->endpoint.tls13 && found->endpoint.verify);
}

TEST_F(RemotesTest, AServerOfTheClientsIsFoundByNameAndAddress) {
  EXPECT_EQ(Refusal("lab").code, CSB_E_UNAUTHORIZED);  // the client has no certificate yet
  MakePair(clients_);
  for (const char* name : {"lab", "https://10.0.0.5:8443"}) {
    auto found = Find(name);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->name, name);
    EXPECT_EQ(found->project, "team");
    EXPECT_EQ(found->endpoint.url, "https://10.0.0.5:8443");
    EXPECT_EQ(found->endpoint.ca, clients_ + "/servercerts/lab.crt");
    EXPECT_EQ(found->endpoint.certificate, clients_ + "/client.crt");
    EXPECT_TRUE(found->endpoint.any_name && found->endpoint.tls13);
  }
  // Without a pin the name counts, and the system's authorities or the client's own.
  auto vouched = Find("signed");
  ASSERT_TRUE(vouched) << vouched.error().message;
  EXPECT_EQ(vouched->endpoint.ca, "");
  EXPECT_FALSE(vouched->endpoint.any_name);
  EXPECT_TRUE(vouched->endpoint.verify);
  std::ofstream(clients_ + "/client.ca") << "CA";
  EXPECT_EQ(Find("signed")->endpoint.ca, clients_ + "/client.ca");
}

TEST_F(RemotesTest, SaysWhyARemoteWillNotDo) {
  EXPECT_EQ(Refusal("nope").code, CSB_E_NOT_FOUND);
  EXPECT_THAT(Refusal("nope").message, HasSubstr("incus.remote: the incus client has no remote \"nope\""));
  EXPECT_THAT(Refusal("images").message, HasSubstr("has images only"));
  EXPECT_THAT(Refusal("public").message, HasSubstr("has images only"));
  EXPECT_THAT(Refusal("sso").message, HasSubstr("OpenID Connect"));
  EXPECT_THAT(Refusal("odd").message, HasSubstr("no server's address"));
  for (const char* wrong :
       {"http://10.0.0.5:8443", "ssh://x", "/var/lib/incus", "https://", "https://h/path"})
    EXPECT_EQ(Refusal(wrong).code, CSB_E_INVALID) << wrong;
  std::ofstream(clients_ + "/config.yml") << "remotes: [";
  EXPECT_THAT(Refusal("lab").message, HasSubstr("config.yml"));
  EXPECT_TRUE(Find("local"));
}

TEST_F(RemotesTest, ImagesAreNamedAsTheClientNamesThem) {
  MakePair(clients_);
  const Remote remote = *Find("lab");
  auto image = ParseImage("images:debian/12/cloud", remote);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->server, "https://images.linuxcontainers.org");
  EXPECT_EQ(image->protocol, "simplestreams");
  EXPECT_EQ(image->alias, "debian/12/cloud");
  EXPECT_FALSE(image->local);
  EXPECT_EQ(image->certificate, "");
  image = ParseImage("ubuntu:24.04", remote);
  EXPECT_EQ(image->server, "https://cloud-images.ubuntu.com/releases");
  const Remote local = *Find("local");
  image = ParseImage("lab:mine", local);
  EXPECT_EQ(image->protocol, "incus");
  EXPECT_EQ(image->server, "https://10.0.0.5:8443");
  EXPECT_EQ(image->certificate, "LAB\n");
  for (const char* text : {"mine", "local:mine", "lab:mine"}) {
    image = ParseImage(text, remote);
    ASSERT_TRUE(image);
    EXPECT_TRUE(image->local) << text;
    EXPECT_EQ(image->alias, "mine");
    EXPECT_EQ(image->server, "");
  }
  const std::string full(64, 'a');
  EXPECT_EQ(ParseImage("0123456789ab", remote)->fingerprint, "0123456789ab");
  EXPECT_EQ(ParseImage("images:" + full, remote)->fingerprint, full);
  EXPECT_EQ(ParseImage("0123456789a", remote)->alias, "0123456789a");
  EXPECT_EQ(ParseImage(full + "a", remote)->alias, full + "a");
  EXPECT_EQ(ParseImage("0123456789ag", remote)->alias, "0123456789ag");
  for (const std::string& wrong :
       {std::string(), std::string(":"), std::string("images:"), std::string(":a"), std::string("a b"),
        std::string("https://x/y"), std::string("a\nb"), std::string("\xff"), std::string(600, 'x')}) {
    auto refused = ParseImage(wrong, remote);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID);
  }
  EXPECT_EQ(ParseImage("nope:a", remote).error().code, CSB_E_NOT_FOUND);
  EXPECT_THAT(ParseImage("here:a", remote).error().message, HasSubstr("only this machine can reach"));
}

}  // namespace
}  // namespace csb::incus
