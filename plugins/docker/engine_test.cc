// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>

#include "plugins/common/http_fake_server.h"
#include "plugins/common/json_testing.h"

namespace csb::docker {
namespace {

using csb::testing::Answer;
using csb::testing::FakeServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr auto kLimit = 5s;
constexpr char kVersion[] = R"({"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"})";

class EngineTest : public ::testing::Test {
 protected:
  // Raw bytes by "METHOD /target", without version; what is not there is answered 404. The last answer stays.
  void Serve(std::map<std::string, std::vector<std::string>> answers) {
    answers_ = std::move(answers);
    answers_.try_emplace("GET /version", std::vector<std::string>{Answer(kVersion)});
    answers_.try_emplace("GET /info", std::vector<std::string>{Answer(R"({"ID":"A"})")});
    server_ = std::make_unique<FakeServer>([this](FakeServer::Peer& peer) {
      for (std::string request; !(request = peer.Request()).empty();) {
        const std::string answer = Next(request.substr(0, request.find(" HTTP/")));
        if (!peer.Send(answer)) return;
        if (answer.find("Connection: close") != std::string::npos) return;
      }
    });
    reactor_ = *Reactor::Create("engine-test");
    engine_ = std::make_unique<Engine>(*HttpClient::Create(*reactor_, server_->endpoint()));
  }
  void TearDown() override {
    engine_.reset();
    server_.reset();
  }
  std::string Next(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
    if (const size_t version = line.find("/v1."); version != std::string::npos)
      line.erase(version, line.find('/', version + 1) - version);
    const auto it = answers_.find(line);
    if (it == answers_.end()) return Answer(R"({"message":"page not found"})", "404 Not Found");
    std::string answer = it->second.front();
    if (it->second.size() > 1) it->second.erase(it->second.begin());
    return answer;
  }
  std::vector<std::string> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  static std::string Message(const std::string& status, const std::string& text) {
    return Answer(R"({"message":")" + text + "\"}", status);
  }

  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> answers_;
  std::vector<std::string> lines_;
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, SpeaksTheOldestVersionThatIsEnough) {
  Serve({});
  const auto info = engine_->Info(kLimit);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->api, "1.41");
  EXPECT_EQ(engine_->prefix(), "/v1.41");
  EXPECT_THAT(lines(), ElementsAre("GET /version", "GET /v1.41/info"));
  // Known from now on, until somebody wants to know anew.
  ASSERT_TRUE(engine_->Info(kLimit));
  EXPECT_EQ(lines().size(), 2u);
  ASSERT_TRUE(engine_->Info(kLimit, Engine::Limit(0)));
  EXPECT_EQ(lines().size(), 4u);
}

TEST_F(EngineTest, ANewerOneIsSpokenToInItsLeastVersion) {
  Serve({{"GET /version", {Answer(R"({"Version":"29.0","ApiVersion":"1.52","MinAPIVersion":"1.44"})")}}});
  ASSERT_TRUE(engine_->Info(kLimit));
  EXPECT_EQ(engine_->prefix(), "/v1.44");
  EXPECT_THAT(lines(), ElementsAre("GET /version", "GET /v1.44/info"));
}

TEST_F(EngineTest, APodmanThatNamesNoLeastVersionWorks) {
  Serve({{"GET /version", {Answer(R"({"Version":"4.3.1","ApiVersion":"1.41",
          "Components":[{"Name":"Podman Engine"}]})")}}});
  const auto info = engine_->Info(kLimit);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, "Podman");
  EXPECT_EQ(info->api, "1.41");
}

TEST_F(EngineTest, ATooOldOneIsToldSo) {
  Serve({{"GET /version", {Answer(R"({"Version":"19.03.1","ApiVersion":"1.40","MinAPIVersion":"1.12"})")}}});
  const auto info = engine_->Info(kLimit);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, CSB_E_UNSUPPORTED);
  EXPECT_THAT(info.error().message, HasSubstr("19.03.1"));
  EXPECT_THAT(info.error().message, HasSubstr("1.41 is needed"));
  EXPECT_THAT(info.error().hint, HasSubstr("20.10"));
  EXPECT_FALSE(info.error().retryable);
}

TEST_F(EngineTest, WhatIsNoEngineIsToldSo) {
  for (const char* body :
       {"<html>hello</html>", "[]", "null", "{}", R"({"ApiVersion":1.41})", R"({"ApiVersion":"2.0"})",
        R"({"ApiVersion":"1.x"})", R"({"ApiVersion":"1.99999999999"})", R"({"ApiVersion":"-1.41"})"}) {
    Serve({{"GET /version", {Answer(body)}}});
    const auto info = engine_->Info(kLimit);
    ASSERT_FALSE(info) << body;
    EXPECT_EQ(info.error().code, CSB_E_UNAVAILABLE) << body;
    EXPECT_THAT(info.error().message, HasSubstr("no Docker Engine")) << body;
    EXPECT_THAT(info.error().hint, HasSubstr("docker.host")) << body;
    TearDown();
  }
  Serve({});
}

// Else a sandbox would be made with what the engine of an empty description can.
TEST_F(EngineTest, HalfAnAnswerIsNotRemembered) {
  Serve({{"GET /info",
          {Message("500 Internal Server Error", "starting"), Answer(R"({"ID":"A","MemoryLimit":true})")}}});
  const auto first = engine_->Info(kLimit);
  ASSERT_FALSE(first);
  EXPECT_THAT(first.error().message, HasSubstr("starting"));
  const auto second = engine_->Info(kLimit);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->id, "A");
  EXPECT_TRUE(second->memory);
}

TEST_F(EngineTest, MissingThingsAreNotFound) {
  Serve({});
  for (const Error& e :
       {engine_->Image("nope:1", kLimit).error(), engine_->Inspect("nope", kLimit).error(),
        engine_->InspectVolume("nope", kLimit).error(), engine_->Start("nope", kLimit).error(),
        engine_->Rename("nope", "x", kLimit).error(), engine_->Stats("nope", kLimit).error(),
        engine_->CreateContainer("x", "{}", kLimit).error()})
    EXPECT_EQ(e.code, CSB_E_NOT_FOUND) << e.message;
  EXPECT_TRUE(engine_->Remove("nope", kLimit)) << "gone is what was wanted";
  EXPECT_TRUE(engine_->RemoveVolume("nope", kLimit));
}

TEST_F(EngineTest, ARemovalThatIsUnderWayIsWaitedFor) {
  const std::string busy = Message("409 Conflict", "removal of container c1 is already in progress");
  Serve({{"DELETE /containers/c1?force=1", {busy}},
         {"POST /containers/c1/wait?condition=removed", {Answer(R"({"StatusCode":0})")}},
         {"DELETE /containers/c2?force=1", {busy}},
         {"DELETE /containers/c3?force=1", {busy}},
         {"POST /containers/c3/wait?condition=removed", {Message("500 Internal Server Error", "no")}}});
  EXPECT_TRUE(engine_->Remove("c1", kLimit));
  EXPECT_THAT(lines(), ElementsAre("DELETE /v1.41/containers/c1?force=1",
                                   "POST /v1.41/containers/c1/wait?condition=removed"));
  EXPECT_TRUE(engine_->Remove("c2", kLimit)) << "gone between the two";
  const Status stuck = engine_->Remove("c3", kLimit);
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().code, CSB_E_CONFLICT);
}

TEST_F(EngineTest, AnEndIsWaitedFor) {
  Serve({{"POST /containers/c1/wait?condition=not-running", {Answer(R"({"StatusCode":137})")}},
         {"POST /containers/c3/wait?condition=not-running", {Message("500 Internal Server Error", "no")}}});
  EXPECT_TRUE(engine_->WaitEnd("c1", kLimit));
  EXPECT_TRUE(engine_->WaitEnd("c2", kLimit)) << "gone";
  EXPECT_FALSE(engine_->WaitEnd("c3", kLimit));
}

TEST_F(EngineTest, ATakenNameIsAConflict) {
  Serve(
      {{"POST /containers/create?name=x", {Message("409 Conflict", "The container name is already in use")}},
       {"POST /containers/a/rename?name=x",
        {Message("409 Conflict", "The container name is already in use")}},
       {"DELETE /volumes/v", {Message("409 Conflict", "volume is in use")}}});
  EXPECT_EQ(engine_->CreateContainer("x", "{}", kLimit).error().code, CSB_E_CONFLICT);
  EXPECT_EQ(engine_->Rename("a", "x", kLimit).error().code, CSB_E_CONFLICT);
  EXPECT_EQ(engine_->RemoveVolume("v", kLimit).error().code, CSB_E_CONFLICT);
}

TEST_F(EngineTest, AnIdThatIsNoneIsRefused) {
  for (const char* body :
       {"{}", R"({"Id":""})", R"({"Id":"../x"})", R"({"Id":7})", "[]", "{", R"({"Id":"a?force=1"})"}) {
    Serve({{"POST /containers/create?name=x", {Answer(body, "201 Created")}}});
    const auto made = engine_->CreateContainer("x", "{}", kLimit);
    ASSERT_FALSE(made) << body;
    EXPECT_EQ(made.error().code, CSB_E_UNAVAILABLE);
    TearDown();
  }
  Serve({});
}

TEST_F(EngineTest, NamesCantChangeTheRequest) {
  Serve({});
  (void)engine_->Inspect("a/../b?x=1#y", kLimit);
  (void)engine_->Rename("a", "x&force=1", kLimit);
  (void)engine_->List("k=\"v\"&all=0", kLimit);
  EXPECT_THAT(
      lines(),
      ElementsAre("GET /v1.41/containers/a%2F..%2Fb%3Fx%3D1%23y/json",
                  "POST /v1.41/containers/a/rename?name=x%26force%3D1",
                  StartsWith("GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22k%3D")));
}

TEST_F(EngineTest, ACutOffAnswerIsAnErrorThatMayBeTriedAgain) {
  Serve({{"GET /containers/c1/json",
          {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{\"Id\":\"c1\""}}});
  const auto info = engine_->Inspect("c1", kLimit);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(info.error().retryable);
}

TEST_F(EngineTest, AnAnswerThatIsNoJsonIsAnError) {
  Serve({{"GET /containers/c1/json", {Answer("{\"Id\":")}}, {"GET /volumes/v", {Answer("<html>")}}});
  for (const Error& e :
       {engine_->Inspect("c1", kLimit).error(), engine_->InspectVolume("v", kLimit).error()}) {
    EXPECT_EQ(e.code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(e.message, HasSubstr("no JSON"));
    EXPECT_THAT(e.hint, HasSubstr("docker.host"));
  }
}

TEST_F(EngineTest, AHungEngineIsToldAsSuchWithinTheLimit) {
  Serve({{"GET /containers/c1/json", {""}}});  // nothing comes
  const auto before = std::chrono::steady_clock::now();
  const auto info = engine_->Inspect("c1", 200ms);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, CSB_E_UNAVAILABLE) << "no deadline of the user's";
  EXPECT_THAT(info.error().message, HasSubstr("did not answer"));
  EXPECT_TRUE(info.error().retryable);
  EXPECT_FALSE(info.error().hint.empty());
}

TEST_F(EngineTest, ADaemonThatIsNotThereIsToldAsSuch) {
  Serve({});
  server_->Stop();
  const auto info = engine_->Info(kLimit);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(info.error().message, StartsWith("Docker daemon not running"));
  EXPECT_THAT(info.error().hint, HasSubstr("systemctl start docker"));
}

TEST_F(EngineTest, AFullDiskIsToldAsSuch) {
  Serve({{"POST /volumes/create",
          {Message("500 Internal Server Error", "mkdir /var/lib/docker/x: no space left on device")}}});
  const auto made = engine_->CreateVolume("v", {}, 0, kLimit);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, CSB_E_NO_CAPACITY);
  EXPECT_THAT(made.error().hint, HasSubstr("free space"));
}

TEST_F(EngineTest, AVolumeThatIsThereTellsItsLabels) {
  Serve({{"POST /volumes/create",
          {Answer(R"({"Name":"v","Labels":{"clara-sandbox.user":"bob"}})", "201 Created")}}});
  const auto has = engine_->CreateVolume("v", {{"clara-sandbox.user", "alice"}}, 0, kLimit);
  ASSERT_TRUE(has);
  EXPECT_EQ(has->at("clara-sandbox.user"), "bob");
}

constexpr char kApart[] = R"({"Options":{"com.docker.network.bridge.enable_icc":"false"}})";
constexpr char kTogether[] = R"({"Options":{"com.docker.network.bridge.enable_icc":"true"}})";

TEST_F(EngineTest, ABridgeIsMadeOnceAndCheckedAlways) {
  Serve({{"POST /networks/create", {Answer(R"({"Id":"n"})", "201 Created")}},
         {"GET /networks/b", {Message("404 Not Found", "no such network"), Answer(kApart)}},
         {"GET /networks/open", {Answer(kTogether)}},
         {"GET /networks/broken", {Message("500 Internal Server Error", "no")}}});
  EXPECT_TRUE(engine_->EnsureBridge("b", {}, kLimit));
  EXPECT_TRUE(engine_->EnsureBridge("b", {}, kLimit));
  EXPECT_THAT(lines(), ElementsAre("GET /v1.41/networks/b", "POST /v1.41/networks/create",
                                   "GET /v1.41/networks/b", "GET /v1.41/networks/b"));
  const Status open = engine_->EnsureBridge("open", {}, kLimit);
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, CSB_E_CONFLICT);
  EXPECT_FALSE(engine_->EnsureBridge("broken", {}, kLimit));
  for (const std::string& line : lines()) EXPECT_THAT(line, Not(StartsWith("DELETE"))) << "not ours";
}

TEST_F(EngineTest, TheSecondOfTwoWhoMakeABridgeIsFine) {
  Serve({{"POST /networks/create", {Message("409 Conflict", "network with name b already exists")}},
         {"GET /networks/b", {Message("404 Not Found", "no such network"), Answer(kApart)}}});
  EXPECT_TRUE(engine_->EnsureBridge("b", {}, kLimit));
}

TEST_F(EngineTest, ABridgeThatDoesNotKeepApartIsNotUsed) {
  Serve({{"POST /networks/create", {Answer(R"({"Id":"n"})", "201 Created")}},
         {"GET /networks/b", {Message("404 Not Found", "no such network"), Answer(kTogether)}},
         {"DELETE /networks/b", {Answer("", "204 No Content")}}});
  const Status made = engine_->EnsureBridge("b", {}, kLimit);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, CSB_E_UNSUPPORTED);
  EXPECT_THAT(made.error().hint, HasSubstr("docker.network=none"));
  EXPECT_EQ(lines().back(), "DELETE /v1.41/networks/b");
}

TEST_F(EngineTest, WhatAContainerComplainedOfIsPrintable) {
  const auto frame = [](std::string_view text) {
    return std::string("\x02\0\0\0\0\0\0", 7) + static_cast<char>(text.size()) + std::string(text);
  };
  Serve({{"GET /containers/c1/logs?stderr=1&tail=5", {Answer(frame("no such\x1b[2J ") + frame("file\n"))}},
         {"GET /containers/c2/logs?stderr=1&tail=5",
          {Answer(std::string("\x02\0\0\0\xFF\xFF\xFF\xFF", 8) + "cut")}},
         {"GET /containers/c3/logs?stderr=1&tail=5", {Answer("short")}}});
  EXPECT_EQ(*engine_->Complaints("c1", kLimit), "no such [2J file");
  EXPECT_EQ(*engine_->Complaints("c2", kLimit), "cut");
  EXPECT_EQ(*engine_->Complaints("c3", kLimit), "");
  EXPECT_EQ(engine_->Complaints("c4", kLimit).error().code, CSB_E_NOT_FOUND);
}

class PullTest : public EngineTest {
 protected:
  static std::string Stream(const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body;
  }
  Status Pull(const std::string& name, bool cancel = false) {
    std::promise<Status> ended;
    const auto call = engine_->StartPull(
        name,
        [&, cancel](const std::string& line) {
          said_.push_back(line);
          if (!cancel) return;
          call_.wait(0);
          engine_->http().Cancel(call_);
        },
        kLimit, [&](const Status& status) { ended.set_value(status); });
    call_ = call;
    call_.notify_all();
    return ended.get_future().get();
  }
  std::atomic<HttpClient::CallId> call_{0};
  std::vector<std::string> said_;
};

TEST_F(PullTest, TellsHowItGoes) {
  Serve({{"POST /images/create?fromImage=python%3A3.12",
          {Stream("{\"status\":\"Pulling\",\"id\":\"3.12\"}\n{\"status\":\"Done\"}\n")}}});
  const Status done = Pull("python:3.12");
  EXPECT_TRUE(done) << done.error().message;
  EXPECT_THAT(said_, ElementsAre("3.12: Pulling", "Done"));
}

TEST_F(PullTest, NeverPullsAllTags) {
  Serve({});
  for (const char* name : {"python", "host:5000/python", "a/b:1", "a@sha256:00"}) (void)Pull(name);
  EXPECT_THAT(lines(), ElementsAre("POST /v1.41/images/create?fromImage=python%3Alatest",
                                   "POST /v1.41/images/create?fromImage=host%3A5000%2Fpython%3Alatest",
                                   "POST /v1.41/images/create?fromImage=a%2Fb%3A1",
                                   "POST /v1.41/images/create?fromImage=a%40sha256%3A00"));
}

TEST_F(PullTest, AnErrorInTheStreamIsAnError) {
  Serve({{"POST /images/create?fromImage=a%3A1",
          {Stream("{\"status\":\"Pulling\"}\n{\"errorDetail\":{},\"error\":\"toomanyrequests\"}\n")}}});
  const Status done = Pull("a:1");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(done.error().message, HasSubstr("cannot pull a:1: toomanyrequests"));
}

TEST_F(PullTest, CanBeCancelled) {
  // A first line, and nothing after it.
  Serve({{"POST /images/create?fromImage=a%3A1",
          {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
           "15\r\n{\"status\":\"Pulling\"}\n\r\n"}}});
  const Status done = Pull("a:1", true);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, CSB_E_CANCELLED);
}

TEST_F(PullTest, ALineWithoutEndIsNoCancellation) {
  Serve({{"POST /images/create?fromImage=a%3A1", {Stream(std::string(3 << 20, 'x'))}}});
  const Status done = Pull("a:1");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(said_, IsEmpty());
}

}  // namespace
}  // namespace csb::docker
