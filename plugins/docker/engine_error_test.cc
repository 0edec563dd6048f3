// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include "plugins/common/http_fake_server.h"

namespace csb::docker {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Kind = csb::testing::FakeServer::Kind;
using Peer = csb::testing::FakeServer::Peer;

// What a real client's call ends with, in the operator's words.
class TransportErrorTest : public ::testing::Test {
 protected:
  Error Of(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    if (!client) return client.error();
    auto answer = (*client)->Call({.target = "/v1.41/info", .timeout = 1s});
    EXPECT_FALSE(answer);
    return answer ? Error{CSB_OK, "", "", false} : TransportError(endpoint, answer.error());
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("error-test");
};

TEST_F(TransportErrorTest, NoSocketOrNobodyBehindIt) {
  csb::testing::FakeServer server([](Peer&) {});
  server.Stop();
  for (const HttpEndpoint& endpoint :
       {server.endpoint(), HttpEndpoint{.url = "http://docker", .unix_socket = "/no/d.sock"}}) {
    const Error error = Of(endpoint);
    EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
    EXPECT_TRUE(error.retryable);
    EXPECT_THAT(error.message, ::testing::StartsWith("Docker daemon not running"));
    EXPECT_THAT(error.message, HasSubstr(endpoint.unix_socket));
    EXPECT_THAT(error.hint, HasSubstr("sudo systemctl start docker"));
  }
}

TEST_F(TransportErrorTest, ASocketThatMayNotBeUsed) {
  csb::testing::FakeServer server([](Peer&) {});
  const std::string path = server.endpoint().unix_socket;
  ASSERT_EQ(::chmod(path.substr(0, path.rfind('/')).c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  if (::geteuid() == 0) reactor_->Post([] { ::setfsuid(65534); });  // a mode does not stop root
  const Error error = Of(server.endpoint());
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("Permission denied"));
  EXPECT_THAT(error.message, HasSubstr(path));
  EXPECT_EQ(error.hint, "sudo usermod -aG docker $USER, then newgrp docker");
}

TEST_F(TransportErrorTest, ADaemonThatHangs) {
  csb::testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) continue;
  });
  const Error error = Of(server.endpoint());
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "the Docker daemon did not answer within 1 s (GET /v1.41/info)");
}

TEST_F(TransportErrorTest, ADaemonThatBreaksOffOrIsNone) {
  csb::testing::FakeServer dies([](Peer& peer) { peer.Request(); });
  Error error = Of(dies.endpoint());
  EXPECT_TRUE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("broke off"));
  csb::testing::FakeServer other([](Peer& peer) {
    peer.Request();
    peer.Send("220 mail ESMTP\r\n");
  });
  error = Of(other.endpoint());
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("no Docker daemon answers at " + other.endpoint().unix_socket));
}

TEST_F(TransportErrorTest, ARemoteDaemon) {
  csb::testing::FakeServer server(
      [](Peer& peer) {
        char hello[4096];  // of TLS
        if (::recv(peer.fd(), hello, sizeof hello, 0) > 0)
          peer.Send("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
      },
      Kind::kTcp);
  HttpEndpoint endpoint = server.endpoint();
  endpoint.url.replace(0, 4, "https");
  Error error = Of(endpoint);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("TLS"));
  EXPECT_THAT(error.hint, HasSubstr("docker.tls_verify"));
  endpoint.certificate = endpoint.key = "/no/such.pem";
  error = Of(endpoint);
  EXPECT_THAT(error.hint, HasSubstr("docker.cert_path (DOCKER_CERT_PATH)"));
  server.Stop();
  error = Of(server.endpoint());
  EXPECT_TRUE(error.retryable);
  EXPECT_THAT(error.message, ::testing::StartsWith("Docker daemon not running at " + server.endpoint().url));
  EXPECT_THAT(error.hint, HasSubstr("DOCKER_HOST"));
}

TEST_F(TransportErrorTest, WhatIsNotTheEnginesStaysAsItIs) {
  const Error error = TransportError({}, {CSB_E_CANCELLED, "GET /x: cancelled", "", false});
  EXPECT_EQ(error.code, CSB_E_CANCELLED);
  EXPECT_EQ(error.message, "GET /x: cancelled");
}

TEST(EngineError, HasACodeForWhatCanBeActedOn) {
  const auto of = [](int status, std::string body) {
    return EngineError("create the container",
                       {.status = status, .content_type = "application/json", .body = std::move(body)});
  };
  Error error = of(404, R"({"message":"No such image: x:latest"})");
  EXPECT_EQ(error.code, CSB_E_NOT_FOUND);
  EXPECT_EQ(error.message, "cannot create the container: No such image: x:latest");
  EXPECT_EQ(of(409, R"({"message":"Conflict. The container name is in use"})").code, CSB_E_CONFLICT);
  error = of(500, R"({"message":"mkdir /var/lib/docker/x: no space left on device"})");
  EXPECT_EQ(error.code, CSB_E_NO_CAPACITY);
  EXPECT_THAT(error.hint, HasSubstr("docker system df"));
  error = of(500, R"({"message":"oh"})");
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(error.retryable);
  error = of(400, R"({"message":"invalid mount"})");
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(of(400, "Client sent an HTTP request to an HTTPS server.\n").hint,
              HasSubstr("docker.tls_verify"));
}

TEST(EngineError, TakesNoHarmFromWhatTheEngineSays) {
  const auto message = [](std::string body) {
    return EngineError("x", {.status = 500, .body = std::move(body)}).message;
  };
  EXPECT_EQ(message(""), "cannot x: HTTP status 500");
  EXPECT_EQ(message("{}"), "cannot x: {}");
  EXPECT_EQ(message(R"({"message":7})"), R"(cannot x: {"message":7})");
  EXPECT_EQ(message("<html>\r\n\x1b[31mno"), "cannot x: <html>   [31mno");
  EXPECT_LT(message(R"({"message":")" + std::string(10'000, 'x') + "\"}").size(), 600u);
}

}  // namespace
}  // namespace csb::docker
