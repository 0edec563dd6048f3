// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/exec_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <future>

#include "plugins/common/web_socket_fake_server.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using csb::testing::Answer;
using csb::testing::FakeServer;
using csb::testing::Served;
using ::testing::HasSubstr;
using Peer = FakeServer::Peer;

constexpr const char* kId = "11111111-2222-3333-4444-5555aaaa6666";
constexpr const char* kCreated =
    R"({"type":"async","status_code":100,"operation":"/1.0/operations/x?project=p1","metadata":)"
    R"({"id":"11111111-2222-3333-4444-5555aaaa6666","class":"websocket","metadata":{"fds":)"
    R"({"0":"aa00","1":"aa01","2":"aa02","control":"aa03"}}}})";

std::string ErrorAnswer(const std::string& words, int code, const std::string& status) {
  return Answer(R"({"type":"error","error":")" + words + R"(","error_code":)" + std::to_string(code) + "}",
                status);
}

// An engine that answers an exec as the real one does, then hands each websocket to the test.
struct FakeIncus {
  using Handler = std::function<void(Served&)>;

  std::string created = Answer(kCreated, "202 Accepted");
  std::string operation = ErrorAnswer("Operation not found", 404, "404 Not Found");
  std::array<Handler, 3> on = {[](Served& s) { s.Read(); }, [](Served& s) { s.Read(); },
                               [](Served& s) { s.Read(); }};
  std::string refuse_websocket;  // an answer
  std::string exec;              // the request
  std::atomic<int> asked{0};     // for the operation

  FakeServer server{[this](Peer& peer) { Serve(peer); }};

  void Serve(Peer& peer) {
    const std::string path = std::string("GET /1.0/operations/") + kId;
    for (std::string request; !(request = peer.Request()).empty();) {
      if (request.starts_with("POST /1.0/instances/c1/exec?project=p1 ")) {
        exec = request;
        peer.Send(created);
      } else if (request.starts_with(path + "/websocket?secret=aa0")) {
        if (!refuse_websocket.empty()) {
          peer.Send(refuse_websocket);
          continue;
        }
        const auto fd = static_cast<size_t>(request[path.size() + 21] - '0');
        Served served(peer, request);
        return on.at(fd)(served);
      } else if (request.starts_with(path + "/wait?timeout=1 ")) {
        ++asked;
        peer.Send(operation);
      } else {
        peer.Send(ErrorAnswer("not found", 404, "404 Not Found"));
      }
    }
  }
};

std::string ReadRaw(int fd, size_t size) {
  std::string out(size, '\0');
  size_t got = 0;
  while (got < size) {
    pollfd wait{fd, POLLIN, 0};
    if (::poll(&wait, 1, 20'000) != 1) break;
    const ssize_t n = ::recv(fd, out.data() + got, size - got, 0);
    if (n <= 0) break;
    got += static_cast<size_t>(n);
  }
  out.resize(got);
  return out;
}

void WriteRaw(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd wait{fd, POLLOUT, 0};
    ASSERT_EQ(::poll(&wait, 1, 20'000), 1);
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(n, 0);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

class ExecStreamTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<ExecStream>> Open(const FakeServer& server, std::chrono::milliseconds limit = 20s) {
    client_ = *HttpClient::Create(*reactor_, server.endpoint());
    return ExecStream::Open(*reactor_, *client_, "p1", "c1", {"/agent", "--connect", "a \"b\""}, limit);
  }
  void OpenHere(const FakeIncus& engine) {
    auto stream = Open(engine.server);
    ASSERT_TRUE(stream) << stream.error().message;
    stream_ = *std::move(stream);
    fd_ = stream_->TakeSocket();
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("exec-test");
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<ExecStream> stream_;
  UniqueFd fd_;
};

TEST_F(ExecStreamTest, RunsTheProgramAsRootAndPassesBytesBothWays) {
  std::promise<std::string> asked;
  FakeIncus engine;
  engine.on[0] = [&](Served& s) {
    asked.set_value(s.Read());
    s.Read();
  };
  engine.on[1] = [&](Served& s) {
    s.Write(true, "you said ");
    s.Write(true, "");
    s.Write(true, asked.get_future().get());
    s.Write(false, "");
    s.Read();
  };
  engine.on[2] = [](Served& s) {
    s.Write(false, "");
    s.Read();
  };
  OpenHere(engine);
  WriteRaw(fd_.get(), "hello");
  EXPECT_EQ(ReadRaw(fd_.get(), 100), "you said hello");  // and the end
  EXPECT_EQ(stream_->Complaints(), "");
  EXPECT_THAT(engine.exec, HasSubstr(R"("command":["/agent","--connect","a \"b\""])"));
  EXPECT_THAT(engine.exec, HasSubstr(R"("wait-for-websocket":true,"interactive":false,"user":0,"group":0)"));
}

TEST_F(ExecStreamTest, KeepsWhatWasSaidOnStderrBeforeItTellsTheEnd) {
  std::promise<void> ended;
  FakeIncus engine;
  engine.on[1] = [&](Served& s) {
    s.Write(false, "");
    ended.set_value();
    s.Read();
  };
  engine.on[2] = [&](Served& s) {
    ended.get_future().wait();
    s.Write(true, "no such\n");
    s.Write(true, std::string("file\x01\n") + std::string(10'000, '!'));
    s.Write(false, "");
    s.Read();
  };
  OpenHere(engine);
  EXPECT_EQ(ReadRaw(fd_.get(), 1), "");
  EXPECT_THAT(stream_->Complaints(), ::testing::StartsWith("no such file  !!"));
  EXPECT_LE(stream_->Complaints().size(), 4096u);
}

TEST_F(ExecStreamTest, DoesNotWaitForAChildThatHoldsStderr) {
  FakeIncus engine;
  engine.on[1] = [](Served& s) {
    s.Write(true, "x");
    s.Write(false, "");
    s.Read();
  };
  OpenHere(engine);
  EXPECT_EQ(ReadRaw(fd_.get(), 2), "x");
}

TEST_F(ExecStreamTest, TheEndOfOurInputIsToldAndOutputGoesOn) {
  std::promise<void> end;
  FakeIncus engine;
  engine.on[0] = [&](Served& s) {
    EXPECT_EQ(s.Read(), "input");
    EXPECT_EQ(s.Read(), "");
    EXPECT_TRUE(!s.code && s.socket.got_text());
    end.set_value();
    s.Read();
  };
  engine.on[1] = [&](Served& s) {
    end.get_future().wait();
    s.Write(true, "output");
    s.Write(false, "");
    s.Read();
  };
  OpenHere(engine);
  WriteRaw(fd_.get(), "input");
  ::shutdown(fd_.get(), SHUT_WR);
  EXPECT_EQ(ReadRaw(fd_.get(), 100), "output");
}

// Everything is over before the last websocket is open.
TEST_F(ExecStreamTest, AProgramThatEndsAtOnceIsHeard) {
  std::promise<void> over;
  FakeIncus engine;
  engine.on[0] = [](Served&) {};
  engine.on[1] = [&](Served& s) {
    s.socket.ping("keepalive", s.code);
    s.Write(true, "output");
    s.Write(false, "");
    over.set_value();
  };
  engine.on[2] = [&](Served& s) {
    over.get_future().wait();
    s.socket.ping("keepalive", s.code);
    s.Write(true, "complaint");
    s.Write(false, "");
  };
  for (int i = 0; i < 20; ++i) {
    over = {};
    OpenHere(engine);
    EXPECT_EQ(ReadRaw(fd_.get(), 100), "output");
    EXPECT_EQ(stream_->Complaints(), "complaint");
  }
}

// What was sent before arrives, the program has a moment, then everything is closed.
TEST_F(ExecStreamTest, ClosingOurEndEndsIt) {
  std::string got;
  std::array<std::promise<void>, 3> gone;
  FakeIncus engine;
  engine.on[0] = [&](Served& s) {
    for (std::string piece; !(piece = s.Read()).empty();) got += piece;
    EXPECT_TRUE(!s.code && s.socket.got_text());
    s.Read();
    gone[0].set_value();
  };
  for (const size_t fd : {1, 2})
    engine.on[fd] = [&, fd](Served& s) {
      s.Read();
      EXPECT_TRUE(s.code);
      gone[fd].set_value();
    };
  OpenHere(engine);
  WriteRaw(fd_.get(), std::string(100'000, 'z'));
  fd_.reset();
  for (auto& each : gone) ASSERT_EQ(each.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_EQ(got, std::string(100'000, 'z'));
}

TEST_F(ExecStreamTest, DestroyingItEndsIt) {
  std::array<std::promise<void>, 3> gone;
  FakeIncus engine;
  for (const size_t fd : {0, 1, 2})
    engine.on[fd] = [&, fd](Served& s) {
      s.Read();
      gone[fd].set_value();
    };
  OpenHere(engine);
  stream_.reset();
  for (auto& each : gone) ASSERT_EQ(each.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_EQ(ReadRaw(fd_.get(), 1), "");
}

TEST_F(ExecStreamTest, HoldsBackWhatTheOtherSideDoesNotTake) {
  constexpr size_t kSize = 32 << 20;
  std::promise<void> take;
  std::promise<size_t> took;
  std::atomic<size_t> written{0};
  FakeIncus engine;
  engine.on[0] = [&](Served& s) {
    take.get_future().wait();
    size_t got = 0;
    for (std::string piece; got < kSize && !(piece = s.Read()).empty();) got += piece.size();
    took.set_value(got);
    s.Read();
  };
  engine.on[1] = [&](Served& s) {
    for (size_t i = 0; i < kSize >> 15 && !s.code; ++i, written += 32 << 10)
      s.Write(true, std::string(32 << 10, static_cast<char>(i)));
    s.Write(false, "");
    s.Read();
  };
  OpenHere(engine);
  // To the program: until nothing goes in.
  const std::string piece(64 << 10, 'a');
  size_t sent = 0;
  for (pollfd wait{fd_.get(), POLLOUT, 0}; sent < kSize && ::poll(&wait, 1, 300) == 1;) {
    const ssize_t n = ::send(fd_.get(), piece.data(), std::min(piece.size(), kSize - sent), MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
  }
  EXPECT_LT(sent, 8u << 20);
  EXPECT_LT(written, 8u << 20);
  take.set_value();
  auto writer = std::async(std::launch::async, [&] { WriteRaw(fd_.get(), std::string(kSize - sent, 'a')); });
  const std::string all = ReadRaw(fd_.get(), kSize);
  ASSERT_EQ(all.size(), kSize);
  for (size_t i = 0; i < kSize; i += 1024) ASSERT_EQ(all[i], static_cast<char>(i >> 15));
  writer.get();
  EXPECT_EQ(took.get_future().get(), kSize);
}

TEST_F(ExecStreamTest, TellsHowItEndedWhereStderrDoesNot) {
  const struct {
    bool cut;
    const char *operation, *words;
  } cases[] = {
      {true, R"({"type":"sync","metadata":{"status":"Failure","err":"VM agent isn't currently running"}})",
       "VM agent isn't currently running"},
      {true, R"({"type":"error","error":"Missing event connection\n","error_code":500})",
       "Missing event connection"},
      {true, R"({"type":"sync","metadata":{"metadata":{}}})", "GET /1.0/operations/"},
      {true, R"([7])", "GET /1.0/operations/"},
      {false, R"({"type":"sync","metadata":{"metadata":{"return":127}}})",
       "the program ended with exit code 127: it is not in the instance"},
      {false, R"({"type":"sync","metadata":{"metadata":{"return":3}}})",
       "the program ended with exit code 3"},
      {false, R"({"type":"sync","metadata":{"metadata":{"return":0}}})", ""},
      {false, R"({"type":"sync","metadata":{"metadata":{"return":"odd"}}})", ""},
  };
  for (const auto& each : cases) {
    FakeIncus engine;
    engine.operation = Answer(each.operation);
    engine.on[1] = [&](Served& s) {
      if (each.cut) return s.Close(boost::beast::websocket::close_code::normal, "");
      s.Write(false, "");
      s.Read();
    };
    engine.on[2] = [](Served& s) { s.Write(false, ""); };
    OpenHere(engine);
    EXPECT_EQ(ReadRaw(fd_.get(), 1), "");
    EXPECT_THAT(stream_->Complaints(), ::testing::StartsWith(each.words));
    EXPECT_EQ(stream_->Complaints().empty(), *each.words == '\0');
    EXPECT_EQ(engine.asked, 1);
  }
}

TEST_F(ExecStreamTest, ACutIsTheEnd) {
  FakeIncus engine;
  engine.on[1] = [](Served& s) { s.Raw(std::string("\x82\x0Ahalf", 6)); };
  OpenHere(engine);
  EXPECT_EQ(ReadRaw(fd_.get(), 1), "");
  EXPECT_THAT(stream_->Complaints(), HasSubstr("the connection was cut off"));
  FakeIncus deaf;
  deaf.on[0] = [](Served&) {};
  OpenHere(deaf);
  EXPECT_EQ(ReadRaw(fd_.get(), 1), "");
  EXPECT_THAT(stream_->Complaints(), HasSubstr("the connection was cut off"));
}

TEST_F(ExecStreamTest, RefusalsAreTheEngines) {
  const struct {
    std::string created, websocket;
    csb_status code;
    const char* words;
  } cases[] = {
      {ErrorAnswer("Instance not found", 404, "404 Not Found"), "", CSB_E_NOT_FOUND, "Instance not found"},
      {ErrorAnswer("Instance is not running", 400, "400 Bad Request"), "", CSB_E_UNAVAILABLE,
       "Instance is not running"},
      {Answer(kCreated, "202 Accepted"), ErrorAnswer("Requestor mismatch", 403, "403 Forbidden"),
       CSB_E_FORBIDDEN, "Requestor mismatch"},
      {Answer(kCreated, "202 Accepted"), Answer("{}"), CSB_E_UNAVAILABLE, "where a websocket is expected"},
      {Answer("[]", "202 Accepted"), "", CSB_E_UNAVAILABLE, "has no operation"},
      {Answer(R"({"metadata":{"id":"../x"}})", "202 Accepted"), "", CSB_E_UNAVAILABLE, "has no id"},
      {Answer(R"({"metadata":{"id":"ab","metadata":{"fds":{"0":7}}}})", "202 Accepted"), "",
       CSB_E_UNAVAILABLE, "has no secret"},
      {Answer("{}", "200 OK"), "", CSB_E_UNAVAILABLE, "cannot run the channel's program"},
  };
  for (const auto& each : cases) {
    FakeIncus engine;
    engine.created = each.created;
    engine.refuse_websocket = each.websocket;
    auto stream = Open(engine.server);
    ASSERT_FALSE(stream) << each.words;
    EXPECT_THAT(stream.error().message, HasSubstr(each.words));
    EXPECT_EQ(stream.error().code, each.code) << stream.error().message;
  }
}

TEST_F(ExecStreamTest, AHungEngineEndsWithTheLimit) {
  FakeServer server([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();)
      if (request.starts_with("POST ")) peer.Send(Answer(kCreated, "202 Accepted"));
  });
  auto stream = Open(server, 300ms);
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(stream.error().message, HasSubstr("did not answer within"));
}

}  // namespace
}  // namespace csb::incus
