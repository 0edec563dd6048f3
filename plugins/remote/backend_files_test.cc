// SPDX-License-Identifier: Apache-2.0
//
// Files through the backend: parts of them, and bytes as they come.
#include <gmock/gmock.h>

#include <algorithm>
#include <future>

#include "plugins/remote/backend_testing.h"

namespace csb::remote {
namespace {

using Peer = FakeServer::Peer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

// ---- Files.

// Of a file "0123456789", as the range of a request asks.
void ServeDigits(FakeService& service) {
  service.On("GET /sandbox/alice/file", [](Peer& peer, const std::string& request) {
    const std::string all = "0123456789", range = HeaderOf(request, "Range");
    if (range.empty())
      return peer.Send("HTTP/1.1 200 OK\r\nX-File-Mode: 0640\r\nContent-Length: 10\r\n\r\n" + all);
    size_t first = 0, last = 9;
    if (range.starts_with("bytes=-")) {
      first = 10 - std::min<size_t>(10, std::stoul(range.substr(7)));
    } else {
      first = std::stoul(range.substr(6));
      const std::string end = range.substr(range.find('-') + 1);
      if (!end.empty()) last = std::min<size_t>(9, std::stoul(end));
    }
    if (first > 9)
      return peer.Send("HTTP/1.1 416 No\r\nContent-Range: bytes */10\r\nContent-Length: 2\r\n\r\n{}");
    return peer.Send("HTTP/1.1 206 Part\r\nContent-Range: bytes " + std::to_string(first) + "-" +
                     std::to_string(last) + "/10\r\nContent-Length: " + std::to_string(last - first + 1) +
                     "\r\n\r\n" + all.substr(first, last - first + 1));
  });
  service.On("HEAD /sandbox/alice/file", std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"));
}

TEST_F(RemoteBackendTest, AFileIsReadInParts) {
  const struct {
    const char *payload, *bytes;
    int offset;
  } cases[] = {{R"({"path":"d"})", "0123456789", 0},
               {R"({"path":"d","offset":7})", "789", 7},
               {R"({"path":"d","offset":2,"length":3})", "234", 2},
               {R"({"path":"d","length":100})", "0123456789", 0},
               {R"({"path":"d","offset":8,"length":100})", "89", 8},
               {R"({"path":"d","offset":-4})", "6789", 6},
               {R"({"path":"d","offset":-4,"length":2})", "67", 6},
               {R"({"path":"d","offset":-400})", "0123456789", 0},
               {R"({"path":"d","offset":10})", "", 10},
               {R"({"path":"d","offset":4000,"length":5})", "", 10},
               {R"({"path":"d","length":0})", "", 0},
               {R"({"path":"d","offset":3,"length":0})", "", 3}};
  FakeService raw(kFullDocument), plain(kPlainDocument);
  ServeDigits(raw);
  plain.On("GET /sandbox/alice/file", Answer(R"({"path":"/workspace/d","content":"0123456789"})"));
  for (FakeService* service : {&raw, &plain}) {
    Start(*service);
    for (const auto& [payload, bytes, offset] : cases) {
      const auto read = Do({.op = CSB_OP_FILE_READ, .payload = payload});
      EXPECT_EQ(read->code(), CSB_OK) << payload << read->message();
      EXPECT_EQ(read->output(CSB_STREAM_DATA), bytes) << payload;
      ASSERT_THAT(read->events(), SizeIs(1)) << payload;
      EXPECT_EQ(read->events()[0].first, CSB_EVENT_META);
      EXPECT_EQ(read->events()[0].second, read->result());
      const auto meta = Json(read->result());
      EXPECT_EQ(json::GetString(meta, "path"), "/workspace/d");
      EXPECT_EQ(json::GetInt(meta, "size"), 10) << payload;
      EXPECT_EQ(json::GetInt(meta, "offset"), offset) << payload;
      EXPECT_EQ(json::GetInt(meta, "length"), std::string(bytes).size()) << payload;
    }
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, AFileThatIsNotWhatWasAskedForIsNone) {
  const struct {
    const char* payload;
    std::string answer;
    const char* words;
  } cases[] = {
      {R"({"path":"d"})", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", "service"},
      {R"({"path":"d","offset":5})", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123", "another part"},
      {R"({"path":"d","offset":1,"length":2})",
       "HTTP/1.1 206 OK\r\nContent-Range: bytes 1-3/4\r\nContent-Length: 3\r\n\r\n123", "another part"},
      {R"({"path":"d","offset":1})", "HTTP/1.1 206 OK\r\nContent-Range: x\r\nContent-Length: 3\r\n\r\n123",
       "another part"},
      {R"({"path":"d"})", "HTTP/1.1 200 OK\r\n\r\n0123", "another part"},
  };
  for (const auto& [payload, answer, words] : cases) {
    FakeService service(kFullDocument);
    service.On("GET /sandbox/alice/file",
               [answer = answer](Peer& peer, const std::string&) { return peer.Send(answer) && false; });
    Start(service);
    const auto read = Do({.op = CSB_OP_FILE_READ, .payload = payload});
    EXPECT_EQ(read->code(), CSB_E_UNAVAILABLE) << answer;
    EXPECT_THAT(read->message(), HasSubstr(words)) << answer;
    backend_.reset();
  }
  FakeService service(kFullDocument);
  service.On("GET /sandbox/alice/file",
             Answer(R"({"error":"File not found: d","code":"not_found"})", "404 Not Found"));
  Start(service);
  const auto read = Do({.op = CSB_OP_FILE_READ, .payload = R"({"path":"d"})"});
  EXPECT_EQ(read->code(), CSB_E_NOT_FOUND);
  EXPECT_EQ(read->message(), "File not found: d");
}

TEST_F(RemoteBackendTest, ALargeFileComesAsCreditAllows) {
  FakeService service(kFullDocument);
  std::string all(3 << 20, '\0');
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 2654435761u >> 13);
  service.On("GET /sandbox/alice/file", Answer(all));
  Start(service);
  const auto read = Begin({.op = CSB_OP_FILE_READ, .payload = R"({"path":"d"})", .output_credit = 1000},
                          Recorder::Credit::kManual);
  for (uint64_t given = 1000; !read->done();) {
    const uint64_t more = given < 20'000 ? 997 : 300'000;
    ASSERT_TRUE(read->WaitOutput(CSB_STREAM_DATA, all.substr(0, std::min<size_t>(given, all.size()))));
    if (given >= all.size()) break;
    read->Give(more);
    given += more;
  }
  ASSERT_TRUE(read->Wait());
  EXPECT_EQ(read->code(), CSB_OK) << read->message();
  EXPECT_TRUE(read->output(CSB_STREAM_DATA) == all);
  EXPECT_THAT(read->violations(), IsEmpty());
}

TEST_F(RemoteBackendTest, ASmallFileIsOneRequest) {
  FakeService service(kFullDocument);
  service.On(kWrite, Answer(R"({"success":true,"path":"/workspace/d","size":3})"));
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send("abc"));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_OK) << write->message();
  EXPECT_EQ(write->result(), R"({"path":"/workspace/d","size":3})");
  ASSERT_THAT(service.Seen(kWrite), SizeIs(1));
  EXPECT_EQ(HeaderOf(service.Seen(kWrite)[0], "Content-Length"), "3");
  EXPECT_EQ(BodyOf(service.Seen(kWrite)[0]), "abc");
}

TEST_F(RemoteBackendTest, ALargeFileIsSentAsItComes) {
  FakeService service(kFullDocument);
  std::string got;
  bool whole = false;
  service.On(kWrite, [&](Peer& peer, const std::string&) {
    while (const auto chunk = peer.Chunk()) {
      got += *chunk;
      whole = chunk->empty();
      if (whole) return peer.Send(Answer(R"({"success":true,"path":"/workspace/d"})"));
    }
    return false;
  });
  Start(service);
  std::string all(5 << 20, '\0');
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 2654435761u >> 13);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send(std::string_view(all).substr(0, 200'000), false));
  EXPECT_TRUE(service.Wait(kWrite)) << "before there is all of it";
  EXPECT_TRUE(write->Send(std::string_view(all).substr(200'000)));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_OK) << write->message();
  EXPECT_TRUE(whole);
  EXPECT_TRUE(got == all);
  EXPECT_EQ(json::GetInt(Json(write->result()), "size"), all.size());
  EXPECT_LE(write->input_credit(), all.size() + (2 << 20)) << "no more waits here than its window";
  EXPECT_EQ(HeaderOf(service.Seen(kWrite)[0], "Transfer-Encoding"), "chunked");
}

// Nobody reads what is sent: what waits here stays bounded.
TEST_F(RemoteBackendTest, AnUploadThatNobodyTakesGetsNoMoreCredit) {
  FakeService service(kFullDocument);
  std::promise<void> go_on;
  service.On(kWrite, [&, wait = go_on.get_future().share()](Peer& peer, const std::string&) {
    wait.wait();
    peer.Send(
        "HTTP/1.1 507 Full\r\nConnection: close\r\nContent-Length: 39\r\n\r\n"
        R"({"error":"disk full","code":"no_space"})");
    while (peer.Chunk()) continue;
    return false;
  });
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  auto sent = std::async(std::launch::async, [&] { return write->Send(std::string(64 << 20, 'x')); });
  ASSERT_TRUE(service.Wait(kWrite));
  EXPECT_EQ(sent.wait_for(500ms), std::future_status::timeout);
  EXPECT_LT(write->input_credit(), 20u << 20) << "its window, and what both ends of the connection hold";
  go_on.set_value();
  EXPECT_FALSE(sent.get());
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_E_NO_SPACE) << write->message();
}

// Whoever pauses learns of it at once, not with the next piece.
TEST_F(RemoteBackendTest, AnUploadThatIsRefusedEndsWhileItsSenderPauses) {
  FakeService service(kFullDocument);
  service.On(kWrite, [](Peer& peer, const std::string&) {
    for (size_t got = 0; got < 200'000;) {
      const auto chunk = peer.Chunk();
      if (!chunk) return false;
      got += chunk->size();
    }
    peer.Send(
        "HTTP/1.1 413 Large\r\nContent-Length: 37\r\n\r\n"
        R"({"error":"large","code":"too_large"} )");
    while (peer.Chunk()) continue;
    return false;
  });
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send(std::string(200'000, 'x'), false));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_E_TOO_LARGE) << write->message();
}

}  // namespace
}  // namespace csb::remote
