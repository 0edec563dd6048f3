// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine.h"

#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <thread>

#include "plugins/common/web_socket_fake_server.h"

namespace csb::incus {
namespace {

using csb::testing::Answer;
using csb::testing::FakeServer;
using csb::testing::Served;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLimit = 5s;
constexpr char kId[] = "6916c8a6-9b7d-4abd-90b3-aedfec7ec7da";
constexpr char kPost[] = "POST /1.0/instances?project=p";

std::string Sync(const std::string& metadata, const std::string& status = "200 OK") {
  return Answer(R"({"type":"sync","status_code":200,"error_code":0,"error":"","metadata":)" + metadata + "}",
                status);
}
std::string Failed(const std::string& status, const std::string& text) {
  return Answer(R"({"type":"error","error_code":)" + status.substr(0, 3) + R"(,"error":")" + text +
                    R"(","metadata":null})",
                status);
}
std::string Op(int code, const std::string& more = "", const std::string& error = "") {
  return R"({"id":")" + std::string(kId) + R"(","status_code":)" + std::to_string(code) + R"(,"err":")" +
         error + "\"" + more + "}";
}
// The URL is a trap: the id is what counts.
const std::string kBegun = Answer(R"({"type":"async","status_code":100,"operation":"/1.0/../evil?project=x",)"
                                  R"("error_code":0,"error":"","metadata":)" +
                                      Op(103) + "}",
                                  "202 Accepted");
std::string WaitLine(int seconds) {
  return std::string("GET /1.0/operations/") + kId + "/wait?project=p&timeout=" + std::to_string(seconds);
}
const std::string kCancelLine = std::string("DELETE /1.0/operations/") + kId + "?project=p";

class EngineTest : public ::testing::Test {
 protected:
  using Answers = std::map<std::string, std::vector<std::string>>;

  // Raw bytes by "METHOD /target"; what is not there is answered 404. The last answer stays. "": none comes.
  void Serve(Answers answers) {
    answers_ = std::move(answers);
    server_ = std::make_unique<FakeServer>([this](FakeServer::Peer& peer) {
      for (std::string request; !(request = peer.Request()).empty();) {
        const std::string line = request.substr(0, request.find(" HTTP/"));
        if (line.starts_with("GET /1.0/events")) return Events(peer, request);
        if (!peer.Send(Next(line, request))) return;
      }
    });
    reactor_ = *Reactor::Create("engine-test");
    engine_ = std::make_unique<Engine>(*reactor_, *HttpClient::Create(*reactor_, server_->endpoint()), "p");
  }
  void TearDown() override {
    {
      const std::lock_guard lock(mutex_);
      down_ = true;
      changed_.notify_all();
    }
    engine_.reset();
    server_.reset();
  }
  std::string Next(const std::string& line, const std::string& request) {
    std::unique_lock lock(mutex_);
    lines_.push_back(line);
    requests_.push_back(request);
    changed_.notify_all();
    const auto it = answers_.find(line);
    if (it == answers_.end()) return Failed("404 Not Found", "nothing here");
    std::string answer = it->second.front();
    if (it->second.size() > 1) it->second.erase(it->second.begin());
    // An operation whose event is here before its answer.
    if (const auto first = before_.find(line); first != before_.end()) {
      events_.push_back(first->second);
      changed_.notify_all();
      changed_.wait(lock, [&] { return events_.empty() || down_; });
    }
    return answer;
  }
  void Events(FakeServer::Peer& peer, const std::string& head) {
    const bool log = head.find("type=logging") != std::string::npos;
    if (log && no_log_) {
      peer.Send(Failed("403 Forbidden", "Forbidden"));
      return;
    }
    Served served(peer, head);
    auto& queue = log ? log_ : events_;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return down_ || (cut_ && !log) || !queue.empty(); });
      if (down_ || (!log && std::exchange(cut_, false))) return;
      const std::string event = queue.front();
      served.Write(false, event);
      queue.erase(queue.begin());
      changed_.notify_all();
    }
  }
  void Event(const std::string& type, const std::string& metadata) {
    const std::lock_guard lock(mutex_);
    events_.push_back(EventText(type, metadata));
    changed_.notify_all();
  }
  static std::string EventText(const std::string& type, const std::string& metadata) {
    return R"({"type":")" + type + R"(","location":"m2","project":"p","metadata":)" + metadata + "}";
  }
  void CutEvents() {
    const std::lock_guard lock(mutex_);
    cut_ = true;
    changed_.notify_all();
  }
  void Listen() {
    engine_->Listen(
        {.on_lifecycle = [this](const std::string& action, const std::string& name,
                                const std::string& member) { Say(action + " " + name + " " + member); },
         .on_open = [this] { Say("open"); },
         .on_shutdown = [this] { Say("shutdown"); }});
  }
  void Say(std::string line) {
    EXPECT_TRUE(reactor_->OnThread());
    const std::lock_guard lock(mutex_);
    told_.push_back(std::move(line));
    changed_.notify_all();
  }
  std::vector<std::string> Told(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 20s, [&] { return told_.size() >= count; });
    return told_;
  }
  bool Asked(const std::string& line) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s,
                             [&] { return std::find(lines_.begin(), lines_.end(), line) != lines_.end(); });
  }
  std::vector<std::string> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  std::string LastRequest() {
    const std::lock_guard lock(mutex_);
    return requests_.back();
  }
  template <typename T>
  static csb_status Code(const Result<T>& r) {
    return r ? CSB_OK : r.error().code;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Answers answers_;
  std::map<std::string, std::string> before_;  // an event that is out before this line's answer
  std::vector<std::string> lines_, requests_, events_, log_, told_;
  bool down_ = false, cut_ = false, no_log_ = false;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Engine> engine_;
};

// ---- answers ----

TEST_F(EngineTest, AServerIsAskedOnce) {
  Serve({{"GET /1.0?project=p",
          {Sync(R"({"auth":"trusted","environment":{"server_version":"6.0.4","server_name":"vm"}})")}}});
  ASSERT_TRUE(engine_->Info(kLimit));
  EXPECT_EQ(engine_->Info(kLimit)->version, "6.0.4");
  EXPECT_THAT(lines(), SizeIs(1));
  ASSERT_TRUE(engine_->Info(kLimit, Engine::Limit(0)));
  EXPECT_THAT(lines(), SizeIs(2));
  EXPECT_THAT(*engine_->Members(kLimit), IsEmpty());
}

TEST_F(EngineTest, AServerThatDoesNotTrustUsIsAskedAgain) {
  Serve({{"GET /1.0?project=p",
          {Sync(R"({"auth":"untrusted","environment":{}})"),
           Sync(R"({"auth":"trusted","environment":{"server_version":"6.0.4"}})")}}});
  const auto info = engine_->Info(kLimit);
  EXPECT_EQ(Code(info), CSB_E_FORBIDDEN);
  EXPECT_THAT(info.error().hint, HasSubstr("clara-sandbox incus trust TOKEN"));
  EXPECT_TRUE(engine_->Info(kLimit));
}

TEST_F(EngineTest, WhatIsNoIncusIsToldSo) {
  for (const char* body : {"<html>hello</html>", "[]", "null", "{}", R"({"type":7})", R"({"type":"sync)",
                           R"({"Version":"20.10"})", R"({"type":"other","metadata":{}})"}) {
    Serve({{"GET /1.0?project=p", {Answer(body)}}});
    const auto info = engine_->Info(kLimit);
    ASSERT_FALSE(info) << body;
    EXPECT_EQ(info.error().code, CSB_E_UNAVAILABLE) << body;
    EXPECT_THAT(info.error().message, HasSubstr("no Incus")) << body;
    EXPECT_THAT(info.error().hint, HasSubstr("INCUS_REMOTE")) << body;
    TearDown();
    down_ = false;
  }
  Serve({});
}

TEST_F(EngineTest, AnErrorWithHttpStatus200IsOne) {
  Serve({{"GET /1.0/profiles/x?project=p", {Answer(R"({"type":"error","error_code":404,"error":"gone"})")}}});
  EXPECT_EQ(Code(engine_->Profile("x", kLimit)), CSB_E_NOT_FOUND);
}

TEST_F(EngineTest, AnEtagIsSentBack) {
  std::string tagged = Sync(R"({"name":"x","config":{"user.a":"1"}})");
  tagged.insert(tagged.find("\r\n") + 2, "Etag: \"f66\"\r\n");
  Serve({{"GET /1.0/profiles/x?project=p", {tagged}},
         {"PUT /1.0/profiles/x?project=p",
          {Sync("{}"), Failed("412 Precondition Failed", "ETag doesn't match")}},
         {"PATCH /1.0/instances/m?project=p", {Sync("{}")}}});
  auto profile = engine_->Profile("x", kLimit);
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_EQ(profile->etag, "\"f66\"");
  ASSERT_TRUE(engine_->ReplaceProfile(*profile, "d", kLimit));
  EXPECT_THAT(LastRequest(), HasSubstr("\r\nIf-Match: \"f66\"\r\n"));
  EXPECT_EQ(Code(engine_->ReplaceProfile(*profile, "d", kLimit)), CSB_E_CONFLICT);
  ASSERT_TRUE(engine_->PatchInstance("m", {{"user.a", "1"}}, "", kLimit));
  EXPECT_THAT(LastRequest(), Not(HasSubstr("If-Match")));
  EXPECT_THAT(LastRequest(), HasSubstr(R"({"config":{"user.a":"1"}})"));
}

TEST_F(EngineTest, NamesCantChangeTheRequest) {
  Serve({});
  (void)engine_->Instance("a/../b?x=1#y", kLimit);
  (void)engine_->Volume("p/q", "v&target=m9", "m 1", kLimit);
  (void)engine_->PutFile("m", "/a b&mode=1", 0755, "x", kLimit);
  (void)engine_->CreateInstance("{}", "@g&x", kLimit);
  (void)engine_->Instances("user.a", "b eq c or", kLimit);
  (void)engine_->Instances("user.a", "b", kLimit);
  EXPECT_THAT(
      lines(),
      ElementsAre("GET /1.0/instances/a%2F..%2Fb%3Fx%3D1%23y?project=p",
                  "GET /1.0/storage-pools/p%2Fq/volumes/custom/v%26target%3Dm9?project=p&target=m%201",
                  "POST /1.0/instances/m/files?project=p&path=%2Fa%20b%26mode%3D1",
                  "POST /1.0/instances?project=p&target=%40g%26x", "GET /1.0/instances?project=p&recursion=1",
                  "GET /1.0/instances?project=p&recursion=1&filter=config.user.a%20eq%20b"));
}

TEST_F(EngineTest, AFilterIsNotBelieved) {
  Serve(
      {{"GET /1.0/instances?project=p&recursion=1&filter=config.user.a%20eq%20b",
        {Sync(
            R"([{"name":"m1","config":{"user.a":"b"}},{"name":"m2","config":{"user.a":"bb"}},{"name":"m3"}])")}}});
  const auto found = engine_->Instances("user.a", "b", kLimit);
  ASSERT_TRUE(found);
  ASSERT_THAT(*found, SizeIs(1));
  EXPECT_EQ(found->front().name, "m1");
}

TEST_F(EngineTest, AHungEngineIsToldAsSuchWithinTheLimit) {
  Serve({{"GET /1.0/instances/m?project=p", {""}}});
  const auto before = Clock::now();
  const auto info = engine_->Instance("m", 200ms);
  EXPECT_LT(Clock::now() - before, 5s);
  EXPECT_EQ(Code(info), CSB_E_UNAVAILABLE) << "no deadline of the user's";
  EXPECT_THAT(info.error().message, HasSubstr("did not answer"));
  EXPECT_TRUE(info.error().retryable);
}

TEST_F(EngineTest, AMemberThatIsKnownToBeDownIsNotAsked) {
  Serve({{"GET /1.0/cluster/members/m2",
          {Sync(R"({"server_name":"m2","status":"Offline","message":"No heartbeat for 20s"})")}}});
  const auto load = engine_->Load("m2", kLimit);
  EXPECT_EQ(Code(load), CSB_E_UNAVAILABLE);
  EXPECT_THAT(load.error().message, HasSubstr("the member m2 is down: No heartbeat"));
  EXPECT_THAT(lines(), SizeIs(1));
}

TEST_F(EngineTest, ANetworkOfAClusterIsToldToEachMember) {
  Serve(
      {{"GET /1.0?project=p",
        {Sync(R"({"auth":"trusted","environment":{"server_version":"6.0.4","server_clustered":true}})")}},
       {"GET /1.0/cluster/members?recursion=1", {Sync(R"([{"server_name":"m1"},{"server_name":"m2"}])")}},
       {"POST /1.0/networks?project=p&target=m1", {Failed("400 Bad Request", "The network already exists")}},
       {"POST /1.0/networks?project=p&target=m2", {Sync("{}")}},
       {"POST /1.0/networks?project=p", {Sync("{}")}}});
  EXPECT_TRUE(engine_->CreateNetwork("b", {{"ipv4.nat", "true"}}, kLimit));
  EXPECT_THAT(lines(), ElementsAre("GET /1.0?project=p", "GET /1.0/cluster/members?recursion=1",
                                   "POST /1.0/networks?project=p&target=m1",
                                   "POST /1.0/networks?project=p&target=m2", "POST /1.0/networks?project=p"));
  EXPECT_THAT(LastRequest(), HasSubstr(R"("config":{"ipv4.nat":"true"})"));
}

// ---- operations by /wait ----

TEST_F(EngineTest, AnOperationIsAwaitedByItsId) {
  Serve({{kPost, {kBegun}}, {WaitLine(5), {Sync(Op(103)), Sync(Op(200))}}});
  EXPECT_TRUE(engine_->CreateInstance(R"({"name":"m"})", "", kLimit));
  EXPECT_THAT(lines(), ElementsAre(kPost, WaitLine(5), WaitLine(5)));
}

TEST_F(EngineTest, AnOperationThatFailedIsToldInEachOfItsWays) {
  const std::string full = "write /var/lib/incus/storage-pools/fast/x: no space left on device";
  for (const std::string& answer :
       {Answer(R"({"type":"error","error_code":500,"error":")" + full + R"(","metadata":null})"),
        Sync(Op(400, "", full)), Failed("500 Internal Server Error", full)}) {
    Serve({{kPost, {kBegun}}, {WaitLine(5), {answer}}});
    const Status made = engine_->CreateInstance(R"({"name":"m"})", "", kLimit);
    EXPECT_EQ(Code(made), CSB_E_NO_CAPACITY) << answer;
    EXPECT_EQ(made.error().message, "cannot create the instance m: " + full);
    EXPECT_THAT(made.error().hint, HasSubstr("pool fast"));
    TearDown();
    down_ = false;
  }
  Serve({});
}

TEST_F(EngineTest, AnIdThatIsNoneIsNotAsked) {
  for (const char* id : {"7", "\"\"", "\"../../1.0/instances/x\"", "null", "\"6916c8a6\""}) {
    Serve(
        {{kPost, {Answer(R"({"type":"async","metadata":{"id":)" + std::string(id) + "}}", "202 Accepted")}}});
    EXPECT_EQ(Code(engine_->CreateInstance("{}", "", kLimit)), CSB_E_UNAVAILABLE) << id;
    EXPECT_THAT(lines(), Not(Contains(HasSubstr("operations"))));
    TearDown();
    down_ = false;
  }
  Serve({});
}

TEST_F(EngineTest, AnOperationThatTakesTooLongIsCancelledOnce) {
  Serve({{kPost, {kBegun}}, {WaitLine(1), {""}}, {kCancelLine, {Sync("{}")}}});
  const Status made = engine_->CreateInstance(R"({"name":"m"})", "", 300ms);
  EXPECT_EQ(Code(made), CSB_E_DEADLINE);
  EXPECT_THAT(made.error().message, HasSubstr("create the instance m"));
  EXPECT_TRUE(Asked(kCancelLine));
}

TEST_F(EngineTest, AnEngineThatDoesNotWaitIsNotAskedWithoutPause) {
  Serve({{kPost, {kBegun}}, {WaitLine(1), {Sync(Op(103))}}});
  EXPECT_EQ(Code(engine_->CreateInstance("{}", "", 500ms)), CSB_E_DEADLINE);
  EXPECT_LT(lines().size(), 12u);
}

TEST_F(EngineTest, AnOperationThatTheEngineForgotIsNoSuccess) {
  Serve({{kPost, {kBegun}}});
  const Status made = engine_->CreateInstance("{}", "", kLimit);
  EXPECT_EQ(Code(made), CSB_E_UNAVAILABLE) << "not CSB_E_NOT_FOUND: that is of the instance";
  EXPECT_TRUE(made.error().retryable);
}

TEST_F(EngineTest, WhatIsSoAlreadyIsNoError) {
  const auto failed = [](const std::string& text) {
    return Answer(R"({"type":"error","error_code":500,"error":")" + text + R"("})");
  };
  Serve({{"PUT /1.0/instances/m/state?project=p", {kBegun}},
         {WaitLine(5),
          {failed("The instance is already running"), failed("The instance is already running")}}});
  EXPECT_TRUE(engine_->ChangeState("m", "start", false, kLimit));
  EXPECT_FALSE(engine_->ChangeState("m", "stop", true, kLimit));
}

TEST_F(EngineTest, ARunningInstanceIsStoppedAndDeleted) {
  Serve({{"PUT /1.0/instances/m/state?project=p", {kBegun}},
         {"DELETE /1.0/instances/m?project=p", {kBegun}},
         {WaitLine(5), {Sync(Op(200))}}});
  EXPECT_TRUE(engine_->DeleteInstance("m", kLimit));
  EXPECT_THAT(lines(), ElementsAre("PUT /1.0/instances/m/state?project=p", WaitLine(5),
                                   "DELETE /1.0/instances/m?project=p", WaitLine(5)));
  EXPECT_TRUE(engine_->DeleteInstance("gone", kLimit));
}

TEST_F(EngineTest, OutputsAreFetchedByTheirNamesOnly) {
  const std::string result =
      R"(,"metadata":{"return":3,"output":{"1":"/1.0/evil/exec_a.stdout","2":"/1.0/instances/m/logs/../.."}})";
  const std::string log = "/1.0/instances/m/logs/exec-output/exec_a.stdout?project=p";
  Serve({{"POST /1.0/instances/m/exec?project=p", {kBegun}},
         {WaitLine(5), {Sync(Op(200, result))}},
         {"GET " + log, {Answer("said"), Answer(std::string(200'000, 'x'))}},
         {"DELETE " + log, {Sync("{}")}}});
  auto ran = engine_->Run("m", {"ls"}, kLimit);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->exit_code, 3);
  EXPECT_EQ(ran->out, "said");
  EXPECT_EQ(ran->err, "");
  EXPECT_TRUE(Asked("DELETE " + log));
  ran = engine_->Run("m", {"ls"}, kLimit);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->out.size(), 64u << 10);
  for (const std::string& line : lines()) EXPECT_THAT(line, Not(HasSubstr("evil")));
}

// ---- events ----

TEST_F(EngineTest, EventsTellTheEndOfAnOperation) {
  Serve({{kPost, {kBegun}}});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  std::thread end([&] {
    EXPECT_TRUE(Asked(kPost));
    Event("operation", Op(103));
    Event("operation", Op(200));
  });
  const auto before = Clock::now();
  EXPECT_TRUE(engine_->CreateInstance("{}", "", kLimit));
  EXPECT_LT(Clock::now() - before, 900ms);
  end.join();
  EXPECT_THAT(lines(), ElementsAre(kPost)) << "nothing else was asked";
}

TEST_F(EngineTest, AnEventBeforeTheAnswerCounts) {
  Serve({{kPost, {kBegun}}});
  before_[kPost] = EventText("operation", Op(200));
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  const auto before = Clock::now();
  EXPECT_TRUE(engine_->CreateInstance("{}", "", kLimit));
  EXPECT_LT(Clock::now() - before, 900ms);
  EXPECT_THAT(lines(), ElementsAre(kPost));
}

TEST_F(EngineTest, AFailureThatAnEventTellsIsAskedFor) {
  Serve({{kPost, {kBegun}},
         {WaitLine(5), {Answer(R"({"type":"error","error_code":404,"error":"Pool not found"})")}}});
  before_[kPost] = EventText("operation", Op(400, "", "Pool not found"));
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  EXPECT_EQ(Code(engine_->CreateInstance("{}", "", kLimit)), CSB_E_NOT_FOUND);
  // Where the engine has forgotten it, the event's words count.
  answers_.erase(WaitLine(5));
  before_[kPost] = EventText("operation", Op(400, "", "The thing already exists"));
  EXPECT_EQ(Code(engine_->CreateInstance("{}", "", kLimit)), CSB_E_CONFLICT);
}

TEST_F(EngineTest, WithoutAnEventTheOperationIsAskedFor) {
  Serve({{kPost, {kBegun}}, {WaitLine(4), {Sync(Op(200))}}});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  const auto before = Clock::now();
  EXPECT_TRUE(engine_->CreateInstance("{}", "", kLimit));
  EXPECT_GE(Clock::now() - before, 900ms);
  EXPECT_THAT(lines(), ElementsAre(kPost, WaitLine(4)));
}

TEST_F(EngineTest, AStreamThatBreaksKeepsNobodyWaiting) {
  Serve({{kPost, {kBegun}}, {WaitLine(5), {Sync(Op(200))}}});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  std::thread cut([&] {
    EXPECT_TRUE(Asked(kPost));
    CutEvents();
  });
  const auto before = Clock::now();
  EXPECT_TRUE(engine_->CreateInstance("{}", "", kLimit));
  EXPECT_LT(Clock::now() - before, 900ms);
  cut.join();
}

TEST_F(EngineTest, LifecycleIsToldAndAnEndAndANewBegin) {
  Serve({});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  Event("lifecycle", R"({"action":"instance-stopped","source":"/1.0/instances/m1?project=p"})");
  Event("lifecycle", R"({"action":"profile-created","source":"/1.0/profiles/x"})");
  Event("lifecycle", R"({"action":"instance-stopped","source":"/1.0/instances/a%2fb"})");
  Event("lifecycle", R"({"action":7,"source":[]})");
  Event("lifecycle", R"({"action":"instance-deleted","source":"/1.0/instances/m2"})");
  ASSERT_THAT(Told(3), ElementsAre("open", "instance-stopped m1 m2", "instance-deleted m2 m2"));
  CutEvents();
  EXPECT_THAT(Told(5),
              ElementsAre("open", "instance-stopped m1 m2", "instance-deleted m2 m2", "shutdown", "open"));
}

TEST_F(EngineTest, AServerThatStopsIsToldOnce) {
  Serve({{"DELETE /1.0/profiles/x?project=p", {Failed("503 Service Unavailable", "Shutting down")}}});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine_->DeleteProfile("x", kLimit).error().retryable);
  EXPECT_THAT(Told(2), ElementsAre("open", "shutdown"));
  CutEvents();
  // One "shutdown" for what was refused and the end of the stream; then it is there again.
  EXPECT_THAT(Told(3), ElementsAre("open", "shutdown", "open"));
}

TEST_F(EngineTest, TheLogOfAServerTellsThatItIsToStop) {
  Serve({});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  {
    const std::lock_guard lock(mutex_);
    for (const char* message : {R"("Handling API request")", "7", R"("Starting shutdown sequence")"})
      log_.push_back(EventText("logging", R"({"level":"info","message":)" + std::string(message) + "}"));
    changed_.notify_all();
  }
  EXPECT_THAT(Told(2), ElementsAre("open", "shutdown"));
}

TEST_F(EngineTest, EventsComeWhereTheLogMayNotBeRead) {
  no_log_ = true;
  Serve({});
  Listen();
  ASSERT_THAT(Told(1), ElementsAre("open"));
  Event("lifecycle", R"({"action":"instance-stopped","source":"/1.0/instances/m1"})");
  EXPECT_THAT(Told(2), ElementsAre("open", "instance-stopped m1 m2"));
}

TEST_F(EngineTest, NothingIsToldAfterItsEnd) {
  for (int i = 0; i < 20; ++i) {
    Serve({{"DELETE /1.0/profiles/x?project=p", {Failed("503 Service Unavailable", "Shutting down")}}});
    std::atomic<bool> over{false};
    engine_->Listen({.on_lifecycle = {},
                     .on_open = [&] { EXPECT_FALSE(over); },
                     .on_shutdown = [&] { EXPECT_FALSE(over); }});
    (void)engine_->DeleteProfile("x", kLimit);
    engine_.reset();
    over = true;
    TearDown();
    down_ = false;
  }
  Serve({});
}

}  // namespace
}  // namespace csb::incus
