// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/endpoint.h"

#include <gmock/gmock.h>

#include "plugins/common/json_testing.h"

namespace csb::docker {
namespace {

using ::testing::HasSubstr;

std::string Url(const std::string& host, bool tls = false, const std::string& certificates = "/nowhere") {
  const auto endpoint = ParseEndpoint(host, tls, certificates);
  return endpoint ? endpoint->url : "refused: " + endpoint.error().message;
}

TEST(Endpoint, AUnixSocketIsAPath) {
  const auto endpoint = ParseEndpoint("unix:///var/run/docker.sock", false, "");
  ASSERT_TRUE(endpoint);
  EXPECT_EQ(endpoint->unix_socket, "/var/run/docker.sock");
  EXPECT_EQ(endpoint->url.substr(0, 7), "http://");
  // TLS is for networks; DOCKER_TLS_VERIFY in the environment must not break a local socket.
  EXPECT_TRUE(ParseEndpoint("unix:///run/user/1000/podman/podman.sock", true, "/nowhere"));
  for (const char* bad : {"unix://", "unix://docker.sock", "unix:docker.sock"}) {
    const auto refused = ParseEndpoint(bad, false, "");
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID);
    EXPECT_THAT(refused.error().message, HasSubstr("docker.host"));
    EXPECT_THAT(refused.error().hint, HasSubstr("unix:///"));
  }
}

TEST(Endpoint, PortsHaveTheUsualDefaults) {
  EXPECT_EQ(Url("tcp://10.0.0.5"), "http://10.0.0.5:2375");
  EXPECT_EQ(Url("tcp://10.0.0.5:1234"), "http://10.0.0.5:1234");
  EXPECT_EQ(Url("tcp://engine.example.org/"), "http://engine.example.org:2375");
  EXPECT_EQ(Url("http://engine:80"), "http://engine:80");
  EXPECT_EQ(Url("tcp://[fd00::2]"), "http://[fd00::2]:2375");
  EXPECT_EQ(Url("tcp://[::1]:4711"), "http://[::1]:4711");
}

TEST(Endpoint, TlsTakesItsThreeFiles) {
  const TemporaryFolder folder;
  for (const char* file : {"ca.pem", "cert.pem", "key.pem"}) {
    const auto refused = ParseEndpoint("tcp://engine", true, folder.path());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, CSB_E_INVALID);
    EXPECT_THAT(refused.error().message, HasSubstr(folder / file));
    EXPECT_THAT(refused.error().hint, HasSubstr("DOCKER_CERT_PATH"));
    WriteText(folder / file, "pem");
  }
  const auto endpoint = ParseEndpoint("tcp://engine", true, folder.path());
  ASSERT_TRUE(endpoint);
  EXPECT_EQ(endpoint->url, "https://engine:2376");
  EXPECT_EQ(endpoint->ca, folder / "ca.pem");
  EXPECT_EQ(endpoint->certificate, folder / "cert.pem");
  EXPECT_EQ(endpoint->key, folder / "key.pem");
  EXPECT_TRUE(endpoint->verify);
  // The scheme alone asks for it too.
  EXPECT_EQ(Url("https://engine:443", false, folder.path()), "https://engine:443");
  EXPECT_THAT(Url("https://engine"), HasSubstr("ca.pem"));
}

TEST(Endpoint, SshIsRefusedWithWhatToDoInstead) {
  const auto refused = ParseEndpoint("ssh://admin@build-host", false, "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_INVALID);
  EXPECT_THAT(refused.error().hint, HasSubstr("ssh -NL"));
  EXPECT_THAT(refused.error().hint, HasSubstr("DOCKER_HOST=unix://"));
}

TEST(Endpoint, GarbageIsRefused) {
  for (const char* bad : {"",
                          "docker",
                          "/var/run/docker.sock",
                          "npipe:////./pipe/docker_engine",
                          "fd://",
                          "tcp://",
                          "tcp://:2375",
                          "tcp://host:",
                          "tcp://host:0",
                          "tcp://host:65536",
                          "tcp://host:22x",
                          "tcp://host:-1",
                          "tcp://a:b:c",
                          "tcp://::1",
                          "tcp://[::1",
                          "tcp://[::1]x:1",
                          "tcp://[host]:1",
                          "tcp://[]",
                          "tcp://user@host:2375",
                          "tcp://host:2375/path",
                          "tcp://host?query",
                          "tcp://host name",
                          "tcp://host\r\nX: y",
                          "tcp://-host",
                          "://host",
                          "TCP://host"}) {
    const auto refused = ParseEndpoint(bad, false, "");
    ASSERT_FALSE(refused) << bad << " became " << refused->url;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID) << bad;
    EXPECT_THAT(refused.error().hint, HasSubstr("://")) << bad;
  }
  EXPECT_FALSE(ParseEndpoint("tcp://" + std::string(300, 'a'), false, ""));
}

}  // namespace
}  // namespace csb::docker
