// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>

#include "plugins/common/http_fake_server.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Peer = testing::FakeServer::Peer;
using Kind = testing::FakeServer::Kind;
using testing::Answer;

class HttpClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<HttpClient> Client(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    EXPECT_TRUE(client) << client.error().message;
    return *std::move(client);
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("http-test");
};

// The request that a client sends, head and body.
class Sent : public HttpClientTest {
 protected:
  std::string Of(HttpRequest request) {
    std::string seen;
    testing::FakeServer server([&](Peer& peer) {
      seen = peer.Request();
      peer.Send(seen.starts_with("HEAD") ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" : Answer("{}"));
      while (!peer.Request().empty()) continue;
    });
    auto client = Client(server.endpoint());
    auto answer = client->Call(std::move(request));
    EXPECT_TRUE(answer) << answer.error().message;
    return seen;
  }
};

TEST_F(Sent, GetHasPathQueryAndNothingThatAsksForMore) {
  const std::string request =
      Of({.target = "/v1.41/containers/json?all=1&filters=%7B%7D", .headers = {"X-Test: 7"}});
  EXPECT_THAT(request, StartsWith("GET /v1.41/containers/json?all=1&filters=%7B%7D HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nHost: engine\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nX-Test: 7\r\n"));
  for (const char* header :
       {"Expect", "Accept-Encoding", "Cookie", "Authorization", "Content-Length", "Content-Type"})
    EXPECT_THAT(request, Not(HasSubstr(header)));
}

TEST_F(Sent, PostWithoutBodySaysSo) {
  const std::string request = Of({.method = "POST", .target = "/start"});
  EXPECT_THAT(request, HasSubstr("\r\nContent-Length: 0\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("Content-Type")));
}

TEST_F(Sent, PostWithBodyIsJsonUnlessItSaysOtherwise) {
  std::string request = Of({.method = "POST", .target = "/create", .body = R"({"Image":"x"})"});
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(request, ::testing::EndsWith("\r\n\r\n{\"Image\":\"x\"}"));
  std::string large(3 << 20, 't');
  large[1] = '\0';
  request = Of(
      {.method = "PUT", .target = "/archive", .headers = {"Content-Type: application/x-tar"}, .body = large});
  EXPECT_THAT(request, StartsWith("PUT /archive "));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/x-tar\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("Expect")));
  EXPECT_EQ(request.substr(request.find("\r\n\r\n") + 4), large);
}

TEST_F(Sent, DeleteAndHead) {
  EXPECT_THAT(Of({.method = "DELETE", .target = "/containers/x?force=1"}),
              StartsWith("DELETE /containers/x?force=1 "));
  EXPECT_THAT(Of({.method = "HEAD", .target = "/_ping"}), StartsWith("HEAD /_ping "));
}

TEST_F(HttpClientTest, AnswersOverUnixSocketAndTcpAlike) {
  for (const Kind kind : {Kind::kUnix, Kind::kTcp}) {
    testing::FakeServer server(
        [](Peer& peer) {
          while (!peer.Request().empty())
            peer.Send(Answer(R"({"message":"no such image"})", "404 Not Found"));
        },
        kind);
    auto answer = Client(server.endpoint())->Call({.target = "/images/x/json"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 404);
    EXPECT_EQ(answer->content_type, "application/json");
    EXPECT_EQ(answer->body, R"({"message":"no such image"})");
  }
}

TEST_F(HttpClientTest, TellsTheEtagAsItWasSent) {
  std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
  testing::FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(head + "\r\n");
  });
  const auto client = Client(server.endpoint());
  const auto etag = [&] {
    auto answer = client->Call({.target = "/"});
    EXPECT_TRUE(answer);
    return answer ? answer->etag : "no answer";
  };
  EXPECT_EQ(etag(), "");
  head += "eTaG:  W/\"a b\" \r\n";
  EXPECT_EQ(etag(), "W/\"a b\"");
  // Not of the answer before the answer.
  head = "HTTP/1.1 103 Early Hints\r\nETag: early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
  EXPECT_EQ(etag(), "");
}

TEST_F(HttpClientTest, UsesAConnectionAgain) {
  testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer("{}"));
  });
  auto client = Client(server.endpoint());
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(client->Call({.method = i % 2 == 0 ? "GET" : "POST", .target = "/"}));
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(HttpClientTest, JoinsChunks) {
  testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty())
      peer.Send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nTrailer: "
          "1\r\n\r\n");
  });
  auto client = Client(server.endpoint());
  for (int i = 0; i < 2; ++i) {
    auto answer = client->Call({.target = "/"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "abcdefgh");
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(HttpClientTest, GoesNowhereElse) {
  testing::FakeServer elsewhere(
      [](Peer& peer) {
        while (!peer.Request().empty()) peer.Send(Answer("{}"));
      },
      Kind::kTcp);
  const std::string other = elsewhere.endpoint().url;
  testing::FakeServer server(
      [&](Peer& peer) {
        while (!peer.Request().empty())
          peer.Send("HTTP/1.1 301 Moved\r\nLocation: " + other + "/\r\nContent-Length: 0\r\n\r\n");
      },
      Kind::kTcp);
  ::setenv("http_proxy", other.c_str(), 1);
  auto answer = Client(server.endpoint())->Call({.target = "/"});
  ::unsetenv("http_proxy");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 301);
  EXPECT_EQ(elsewhere.connections(), 0);
}

TEST_F(HttpClientTest, HandsOnAStreamPieceByPiece) {
  std::promise<void> first_seen, second_seen;
  testing::FakeServer server([&](Peer& peer) {
    peer.Request();
    peer.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    first_seen.get_future().wait();
    peer.Send("6\r\nsecond\r\n");
    second_seen.get_future().wait();
    peer.Send("0\r\n\r\n");
  });
  auto client = Client(server.endpoint());
  std::vector<std::string> pieces;
  auto answer = client->Call(
      {.target = "/events", .timeout = 20s, .max_body = 0, .on_data = [&](std::string_view piece) {
         pieces.emplace_back(piece);
         (pieces.size() == 1 ? first_seen : second_seen).set_value();
         return true;
       }});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(pieces, ::testing::ElementsAre("first", "second"));
  EXPECT_EQ(answer->body, "");
}

TEST_F(HttpClientTest, AStreamsErrorIsAnAnswerAndItsReaderMayEndIt) {
  std::atomic<bool> fail = true;
  testing::FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty())
      if (fail)
        peer.Send(Answer("no", "500 Oh"));
      else
        peer.Send(Answer("yes"));
  });
  auto client = Client(server.endpoint());
  int pieces = 0;
  const HttpRequest request{.target = "/logs", .on_data = [&](std::string_view) {
                              ++pieces;
                              return false;
                            }};
  auto answer = client->Call(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "no");
  EXPECT_EQ(pieces, 0);
  fail = false;
  answer = client->Call(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, CSB_E_CANCELLED);
  EXPECT_EQ(pieces, 1);
}

TEST_F(HttpClientTest, AHundredCallsAtOnceEachGetTheirOwnAnswer) {
  std::promise<void> all_here;
  std::atomic<int> waiting = 0;
  testing::FakeServer server([&, all = all_here.get_future().share()](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();) {
      if (++waiting == 100) all_here.set_value();
      all.wait();  // so that all are under way together
      peer.Send(Answer(request.substr(0, request.find(" HTTP"))));
    }
  });
  auto client = Client(server.endpoint());
  std::vector<std::future<Result<HttpResponse>>> calls;
  for (int i = 0; i < 100; ++i)
    calls.push_back(std::async(std::launch::async, [&client, i] {
      return client->Call({.target = "/" + std::to_string(i), .timeout = 60s});
    }));
  for (int i = 0; i < 100; ++i) {
    auto answer = calls[static_cast<size_t>(i)].get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "GET /" + std::to_string(i));
  }
}

TEST(UrlEscape, LeavesOnlyWhatMeansItself) {
  EXPECT_EQ(UrlEscape("a-Z.9_~"), "a-Z.9_~");
  EXPECT_EQ(UrlEscape("{\"x\":[\"/ &?#%\"]}"), "%7B%22x%22%3A%5B%22%2F%20%26%3F%23%25%22%5D%7D");
  EXPECT_EQ(UrlEscape(std::string_view("\0\xC3\xA4", 3)), "%00%C3%A4");
}

}  // namespace
}  // namespace csb
