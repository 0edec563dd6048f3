// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine_error.h"

#include <gmock/gmock.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include "plugins/common/http_fake_server.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Kind = csb::testing::FakeServer::Kind;
using Peer = csb::testing::FakeServer::Peer;

// What a real client's call ends with, in the operator's words.
class TransportErrorTest : public ::testing::Test {
 protected:
  Error Of(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    if (!client) return client.error();
    auto answer = (*client)->Call({.target = "/1.0", .timeout = 1s});
    EXPECT_FALSE(answer);
    return answer ? Error{CSB_OK, "", "", false} : TransportError(endpoint, answer.error());
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("error-test");
};

TEST_F(TransportErrorTest, NoSocketOrNobodyBehindIt) {
  csb::testing::FakeServer server([](Peer&) {});
  server.Stop();
  for (const HttpEndpoint& endpoint :
       {server.endpoint(), HttpEndpoint{.url = "http://incus", .unix_socket = "/no/i.sock"}}) {
    const Error error = Of(endpoint);
    EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
    EXPECT_TRUE(error.retryable);
    EXPECT_THAT(error.message, StartsWith("Incus daemon not running (" + endpoint.unix_socket + ")"));
    EXPECT_THAT(error.hint, HasSubstr("sudo systemctl start incus"));
    EXPECT_THAT(error.hint, HasSubstr("apt install incus"));
  }
}

TEST_F(TransportErrorTest, NobodyAtThatAddress) {
  csb::testing::FakeServer server([](Peer&) {}, Kind::kTcp);
  server.Stop();
  const Error error = Of(server.endpoint());
  EXPECT_THAT(error.message, StartsWith("Incus daemon not running at http://127.0.0.1:"));
  EXPECT_THAT(error.hint, HasSubstr("INCUS_REMOTE"));
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
  EXPECT_THAT(error.message, AllOf(HasSubstr("Permission denied"), HasSubstr(path)));
  EXPECT_EQ(error.hint, "sudo usermod -aG incus-admin $USER, then newgrp incus-admin");
}

TEST_F(TransportErrorTest, ADaemonThatHangs) {
  csb::testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) continue;
  });
  const Error error = Of(server.endpoint());
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE) << "no deadline of the user's";
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "the Incus daemon did not answer within 1 s (GET /1.0)");
  EXPECT_THAT(error.hint, HasSubstr("journalctl -u incus"));
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
  EXPECT_THAT(error.message, HasSubstr("no Incus daemon answers at"));
}

TEST_F(TransportErrorTest, Certificates) {
  const HttpEndpoint server{.url = "https://10.0.0.5:8443"};
  const auto of = [&](const std::string& words) {
    return TransportError(server, {CSB_E_UNAVAILABLE, "GET /1.0: TLS: " + words, "", false});
  };
  const Error pinned = of("SSL certificate problem: self-signed certificate");
  EXPECT_THAT(pinned.message,
              StartsWith("the certificate of https://10.0.0.5:8443 is not the one that was pinned"));
  EXPECT_THAT(pinned.hint, HasSubstr("clara-sandbox incus trust TOKEN"));
  EXPECT_FALSE(pinned.retryable);
  const Error ours = of("OpenSSL SSL_read: error:0A000412: sslv3 alert bad certificate");
  EXPECT_THAT(ours.message, HasSubstr("refuses our certificate"));
  EXPECT_THAT(ours.hint, HasSubstr("incus config trust add"));
  EXPECT_THAT(of("error:0A00010B: wrong version number").message, HasSubstr("no Incus server answers"));
}

TEST_F(TransportErrorTest, OthersComeBackAsTheyAre) {
  const Error error = TransportError({}, {CSB_E_CANCELLED, "GET /1.0: cancelled", "h", false});
  EXPECT_EQ(error.code, CSB_E_CANCELLED);
  EXPECT_EQ(error.message, "GET /1.0: cancelled");
  EXPECT_EQ(TransportError({}, {CSB_E_TOO_LARGE, "x", "", false}).code, CSB_E_UNAVAILABLE);
}

struct Said {
  int code;
  const char* words;
  csb_status expected;
  bool retryable;
  const char* hint;  // a part of it; "" : none is needed
};

// All but the last four as a server of version 6.0.4 says them.
TEST(EngineErrorTest, WhatTheEngineSays) {
  for (const Said& said : std::initializer_list<Said>{
           {404, "Profile not found", CSB_E_NOT_FOUND, false, ""},
           {404, "Failed to fetch instance \"nope\" in project \"default\": Instance not found",
            CSB_E_NOT_FOUND, false, ""},
           {500, "Image not provided for instance creation", CSB_E_NOT_FOUND, false, "incus image list"},
           {500, "Error inserting \"p\" into database: The profile already exists", CSB_E_CONFLICT, false,
            ""},
           {409, "Volume by that name already exists", CSB_E_CONFLICT, false, ""},
           {400, "The network ACL already exists", CSB_E_CONFLICT, false, ""},
           {500, "Failed creating instance record: UNIQUE constraint failed: instances.project_id",
            CSB_E_CONFLICT, false, ""},
           {400, "The storage volume is still in use", CSB_E_CONFLICT, false, ""},
           {412, "ETag doesn't match: f66 vs bad", CSB_E_CONFLICT, false, ""},
           {500, "Failed to create instance update operation: Instance is busy running a \"stop\" operation",
            CSB_E_CONFLICT, true, ""},
           {403, "Forbidden", CSB_E_FORBIDDEN, false, "clara-sandbox incus trust TOKEN"},
           {500, "Requested image's type \"container\" doesn't match instance type \"virtual-machine\"",
            CSB_E_UNSUPPORTED, false, "incus image list"},
           {500,
            "Instance type \"virtual-machine\" is not supported on this server: vhost_vsock kernel module "
            "not loaded",
            CSB_E_UNSUPPORTED, false, "modprobe vhost_vsock"},
           {500, "Missing event connection with target cluster member", CSB_E_UNAVAILABLE, true,
            "incus cluster list"},
           {503, "Shutting down", CSB_E_UNAVAILABLE, true, ""},
           {503, "Daemon is starting up", CSB_E_UNAVAILABLE, true, ""},
           {400, "Instance is running", CSB_E_CONFLICT, true, ""},
           {500, "Failed to run: incusd forkstart m1", CSB_E_UNAVAILABLE, true, ""},
           {500, "Unable to connect to: 10.0.0.2:8443 ([dial tcp 10.0.0.2:8443: i/o timeout])",
            CSB_E_UNAVAILABLE, true, "incus cluster list"},
           {500, "write /var/lib/incus/storage-pools/fast/custom/x: no space left on device",
            CSB_E_NO_CAPACITY, false, "incus storage info fast"},
           {500, "mkdir /x: disk quota exceeded", CSB_E_NO_CAPACITY, false, "incus storage list"},
           {429, "slow down", CSB_E_UNAVAILABLE, true, ""}}) {
    const Error error = EngineError("do it", said.code, said.words);
    EXPECT_EQ(error.code, said.expected) << said.words;
    EXPECT_EQ(error.retryable, said.retryable) << said.words;
    EXPECT_THAT(error.message, AllOf(StartsWith("cannot do it: "), HasSubstr(said.words)));
    EXPECT_THAT(error.hint, HasSubstr(said.hint)) << said.words;
  }
}

TEST(EngineErrorTest, AMemberThatIsDownIsCalledThat) {
  EXPECT_THAT(EngineError("x", 500, "dial tcp 10.0.0.2:8443: connect: no route to host").message,
              HasSubstr("member is down"));
  // A server of images is none.
  const Error error = EngineError("x", 500, "Get \"https://images/streams/v1/index.json\": i/o timeout");
  EXPECT_THAT(error.message, Not(HasSubstr("member")));
  EXPECT_TRUE(error.retryable);
}

TEST(EngineErrorTest, APoolIsNamedFromWhatWasToBeDone) {
  const Error error = EngineError("create the volume v in the pool \"slow\"", 500, "not enough space");
  EXPECT_EQ(error.code, CSB_E_NO_CAPACITY);
  EXPECT_THAT(error.hint, HasSubstr("the storage pool slow is full"));
}

// A hint is there to be copied into a shell.
TEST(EngineErrorTest, AHintHasNoWordsOfTheEnginesButPlainOnes) {
  for (const std::string& pool :
       {std::string("a;reboot"), std::string("$(reboot)"), std::string("-x"), std::string(400, 'p')}) {
    const Error error = EngineError("x", 500, "pool \"" + pool + "\": not enough space");
    EXPECT_EQ(error.code, CSB_E_NO_CAPACITY);
    EXPECT_THAT(error.hint, Not(HasSubstr(pool)));
  }
}

TEST(EngineErrorTest, AnswersOfAnyShape) {
  const auto of = [](int status, const std::string& body) {
    return EngineError("x", {.status = status, .content_type = "", .etag = "", .body = body});
  };
  EXPECT_EQ(of(500, R"({"type":"error","error":"gone","error_code":404})").code, CSB_E_NOT_FOUND);
  EXPECT_EQ(of(404, R"({"type":"error","error":"gone","error_code":"x"})").code, CSB_E_NOT_FOUND);
  EXPECT_EQ(of(502, "<html>Bad Gateway\r\n\x1b[2J</html>").message,
            "cannot x: <html>Bad Gateway   [2J</html>");
  EXPECT_EQ(of(500, "").message, "cannot x: status 500");
  EXPECT_EQ(of(500, R"({"error":7})").message, "cannot x: {\"error\":7}");
  EXPECT_LT(of(500, R"({"error":")" + std::string(100'000, 'e') + "\"}").message.size(), 600u);
}

TEST(EngineErrorTest, AServerThatStopsIsToldFromOneThatStarts) {
  EXPECT_TRUE(IsShutdown(503, "Shutting down"));
  EXPECT_TRUE(IsShutdown(503, "Daemon is shutting down"));
  EXPECT_FALSE(IsShutdown(503, "Daemon is starting up"));
  EXPECT_FALSE(IsShutdown(500, "Failed shutting down instance"));
}

}  // namespace
}  // namespace csb::incus
