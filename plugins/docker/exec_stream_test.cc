// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/exec_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <future>

#include "plugins/common/http_fake_server.h"

namespace csb::docker {
namespace {

using namespace std::chrono_literals;
using csb::testing::Answer;
using csb::testing::FakeServer;
using ::testing::HasSubstr;
using Peer = FakeServer::Peer;

std::string Frame(char type, std::string_view payload) {
  const auto n = static_cast<uint32_t>(payload.size());
  std::string out{type, 0, 0, 0};
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(n >> shift));
  return out.append(payload);
}

// An engine that answers an exec as the real one does, then hands the stream to the test.
FakeServer::Serve Engine(std::function<void(Peer&)> stream, std::string* create = nullptr,
                         std::string* start = nullptr) {
  return [=](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();) {
      if (request.starts_with("POST /v1.41/containers/c1/exec ")) {
        if (create != nullptr) *create = request;
        peer.Send(Answer(R"({"Id":"e4ec"})", "201 Created"));
      } else if (request.starts_with("POST /v1.41/exec/e4ec/start ")) {
        if (start != nullptr) *start = request;
        peer.Send(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        return stream(peer);
      }
    }
  };
}

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
    return ExecStream::Open(*reactor_, *client_, "/v1.41", "c1", {"/agent", "--connect", "a \"b\""}, limit);
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("exec-test");
  std::unique_ptr<HttpClient> client_;
};

TEST_F(ExecStreamTest, RunsTheProgramAsRootAndPassesBytesBothWays) {
  std::string create, start;
  FakeServer server(Engine(
      [](Peer& peer) {
        const std::string asked = ReadRaw(peer.fd(), 5);
        for (const char c : Frame(1, "you said ") + Frame(1, asked)) peer.Send({&c, 1});
        ReadRaw(peer.fd(), 1);
      },
      &create, &start));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  WriteRaw(fd.get(), "hello");
  EXPECT_EQ(ReadRaw(fd.get(), 14), "you said hello");
  EXPECT_THAT(
      create,
      HasSubstr(R"({"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":false,"User":"0",)"
                R"("Cmd":["/agent","--connect","a \"b\""]})"));
  EXPECT_THAT(start, HasSubstr("\r\nUpgrade: tcp\r\n"));
  EXPECT_THAT(start, ::testing::EndsWith(R"({"Detach":false,"Tty":false})"));
}

TEST_F(ExecStreamTest, LosesNothingWhenEitherSideIsSlow) {
  std::string up(6 << 20, '\0'), down(6 << 20, '\0'), arrived;
  for (size_t i = 0; i < up.size(); ++i) {
    up[i] = static_cast<char>(i * 2654435761u >> 13);
    down[i] = static_cast<char>(i * 2246822519u >> 11);
  }
  std::promise<void> sent_all;
  FakeServer server(Engine([&](Peer& peer) {
    // All of it before anything is read: more than the sockets hold, so both ways come to a stop in between.
    std::thread writer([&] {
      for (size_t at = 0; at < down.size(); at += 32'000)
        peer.Send(Frame(1, std::string_view(down).substr(at, 32'000)));
    });
    sent_all.get_future().wait();
    arrived = ReadRaw(peer.fd(), up.size());
    writer.join();
  }));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  std::thread writer([&] { WriteRaw(fd.get(), up); });
  // The engine reads nothing yet, but what comes from it must flow.
  EXPECT_EQ(ReadRaw(fd.get(), down.size() / 2), down.substr(0, down.size() / 2));
  sent_all.set_value();
  writer.join();
  EXPECT_EQ(ReadRaw(fd.get(), down.size() - down.size() / 2), down.substr(down.size() / 2));
  fd.reset();
  server.Stop();
  EXPECT_TRUE(arrived == up);
}

TEST_F(ExecStreamTest, TellsWhatTheProgramComplainsOf) {
  std::promise<void> read;
  FakeServer server(Engine([&](Peer& peer) {
    peer.Send(Frame(2, "no such\x1b[m file\n") + Frame(2, std::string(100'000, 'e')) + Frame(1, "x"));
    read.get_future().wait();
  }));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  EXPECT_EQ(ReadRaw(fd.get(), 1), "x");
  EXPECT_THAT((*stream)->Complaints(), ::testing::StartsWith("no such [m file eee"));
  EXPECT_LE((*stream)->Complaints().size(), 4096u + 3);
  read.set_value();
  EXPECT_EQ(ReadRaw(fd.get(), 1), "");  // the engine's end is ours
}

TEST_F(ExecStreamTest, WhatCameBeforeTheEndIsStillRead) {
  const std::string last(500'000, 'l');
  FakeServer server(Engine([&](Peer& peer) { peer.Send(Frame(1, last)); }));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  EXPECT_TRUE(ReadRaw(fd.get(), last.size() + 1) == last);
}

TEST_F(ExecStreamTest, AFrameThatIsNoneEndsIt) {
  FakeServer server(Engine([](Peer& peer) {
    peer.Send(Frame(1, "ok") + Frame(7, "x"));
    EXPECT_EQ(ReadRaw(peer.fd(), 1), "");
  }));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  EXPECT_EQ(ReadRaw(fd.get(), 10), "ok");
  EXPECT_THAT((*stream)->Complaints(), HasSubstr("type 7"));
}

TEST_F(ExecStreamTest, EndsWithOurSocketAndWithItself) {
  for (const bool close_socket : {true, false}) {
    std::promise<std::string> rest;
    FakeServer server(Engine([&](Peer& peer) { rest.set_value(ReadRaw(peer.fd(), 100)); }));
    auto stream = Open(server);
    ASSERT_TRUE(stream) << stream.error().message;
    UniqueFd fd = (*stream)->TakeSocket();
    if (close_socket) {
      WriteRaw(fd.get(), "last");
      fd.reset();
      EXPECT_EQ(rest.get_future().get(), "last");
    } else {
      stream->reset();
      EXPECT_EQ(rest.get_future().get(), "");
      EXPECT_EQ(ReadRaw(fd.get(), 1), "");
    }
  }
}

// An engine that takes nothing must not keep a stream alive whose user is gone.
TEST_F(ExecStreamTest, EndsWithOurSocketThoughTheEngineIsStuck) {
  std::promise<void> gone;
  FakeServer server(Engine([&](Peer& peer) {
    pollfd wait{peer.fd(), POLLRDHUP, 0};
    EXPECT_EQ(::poll(&wait, 1, 20'000), 1);
    gone.set_value();
  }));
  auto stream = Open(server);
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  const std::string piece(64 << 10, 'x');
  for (pollfd wait{fd.get(), POLLOUT, 0}; ::poll(&wait, 1, 200) == 1;)
    ASSERT_GT(::send(fd.get(), piece.data(), piece.size(), MSG_NOSIGNAL), 0);
  fd.reset();
  gone.get_future().wait();
}

TEST_F(ExecStreamTest, RefusalsAreTheEnginesWords) {
  FakeServer paused([](Peer& peer) {
    while (!peer.Request().empty())
      peer.Send(Answer(R"({"message":"Container c1 is paused"})", "409 Conflict"));
  });
  auto stream = Open(paused);
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(stream.error().message, HasSubstr("Container c1 is paused"));
  FakeServer gone([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();)
      peer.Send(request.find("/start ") == std::string::npos
                    ? Answer(R"({"Id":"e4ec"})", "201 Created")
                    : Answer(R"({"message":"No such exec instance"})", "404 Not Found"));
  });
  stream = Open(gone);
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, CSB_E_NOT_FOUND);
  FakeServer odd([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer(R"({"Id":"../../x"})", "201 Created"));
  });
  stream = Open(odd);
  ASSERT_FALSE(stream);
  EXPECT_THAT(stream.error().message, HasSubstr("has no id"));
}

TEST_F(ExecStreamTest, AHungEngineEndsWithTheLimit) {
  FakeServer server([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();)
      if (request.find("/start ") == std::string::npos) peer.Send(Answer(R"({"Id":"e4ec"})", "201 Created"));
  });
  auto stream = Open(server, 300ms);
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(stream.error().message, HasSubstr("the Docker daemon did not answer within"));
}

}  // namespace
}  // namespace csb::docker
