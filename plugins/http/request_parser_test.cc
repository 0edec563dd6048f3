// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/request_parser.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

struct Collect : BodySink {
  size_t TakeBody(std::string_view bytes) override {
    const size_t n = std::min(bytes.size(), budget);
    budget -= n;
    body += bytes.substr(0, n);
    return n;
  }
  std::string body;
  size_t budget = 1 << 20;
};

constexpr char kHost[] = "Host: h\r\n";

int StatusOf(const std::string& request) {
  RequestParser parser({});
  ParseResult result = parser.ParseHead(request);
  if (!result.ok() || result.consumed == 0) return result.ok() ? -1 : result.status;
  parser.LimitBody(1 << 20);
  Collect sink;
  result = parser.ParseBody(std::string_view(request).substr(result.consumed), sink);
  if (!result.ok()) return result.status;
  return parser.done() ? 200 : -1;
}
std::string Get(const std::string& fields) { return "GET / HTTP/1.1\r\n" + fields + "\r\n"; }

TEST(RequestParser, ReadsAHead) {
  const std::string text =
      "POST /sandbox/a/file?path=x HTTP/1.1\r\nHost: h:1\r\nX-API-KEY: k\r\nAccept: a/b\r\nAccept: c/d\r\n"
      "Content-Length: 3\r\nRange: bytes=0-1\r\n\r\nabc";
  RequestParser parser({});
  const ParseResult result = parser.ParseHead(text);
  ASSERT_TRUE(result.ok()) << result.message;
  EXPECT_EQ(result.consumed, text.size() - 3);
  const RequestHead& head = parser.head();
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/sandbox/a/file?path=x");
  EXPECT_EQ(head.host, "h:1");
  EXPECT_EQ(head.api_key, "k");
  EXPECT_EQ(head.accept, "a/b, c/d");
  EXPECT_EQ(head.range, "bytes=0-1");
  EXPECT_EQ(head.content_length, 3u);
  EXPECT_TRUE(head.has_body);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_FALSE(parser.done());
}

TEST(RequestParser, TellsAnEmptyKeyFromNone) {
  RequestParser parser({});
  ASSERT_TRUE(parser.ParseHead(Get(kHost)).ok());
  EXPECT_FALSE(parser.head().idempotency_key);
  EXPECT_FALSE(parser.head().instance);
  parser.Reset();
  const std::string text = Get(std::string(kHost) + "idempotency-KEY:\r\nX-Sandbox-Instance: 0f\r\n");
  ASSERT_TRUE(parser.ParseHead(text).ok());
  EXPECT_EQ(parser.head().idempotency_key, "");
  EXPECT_EQ(parser.head().instance, "0f");
  for (const char* name : {"Idempotency-Key", "X-Sandbox-Instance"}) {
    const std::string field = std::string(name) + ": a\r\n";
    EXPECT_EQ(StatusOf(Get(kHost + field + field)), 400) << name;
  }
}

TEST(RequestParser, ReadsByteByByte) {
  const std::string text =
      "\r\nPOST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: r\r\n\r\n";
  RequestParser parser({});
  size_t head = 0, end = 0;
  while (head == 0) {
    const ParseResult result = parser.ParseHead(std::string_view(text).substr(0, ++end));
    ASSERT_TRUE(result.ok()) << result.message;
    head = result.consumed;
  }
  parser.LimitBody(100);
  Collect sink;
  for (size_t begin = head; !parser.done() && end <= text.size(); ++end) {
    const ParseResult result = parser.ParseBody(std::string_view(text).substr(begin, end - begin), sink);
    ASSERT_TRUE(result.ok()) << result.message;
    begin += result.consumed;
  }
  EXPECT_TRUE(parser.done());
  EXPECT_EQ(sink.body, "abcdefg");
}

TEST(RequestParser, OffersAgainWhatTheSinkDidNotTake) {
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string body = "5\r\nabcde\r\n0\r\n\r\n";
  RequestParser parser({});
  ASSERT_EQ(parser.ParseHead(head + body).consumed, head.size());
  parser.LimitBody(100);
  Collect sink;
  sink.budget = 2;
  size_t used = parser.ParseBody(body, sink).consumed;
  EXPECT_EQ(sink.body, "ab");
  sink.budget = 100;
  used += parser.ParseBody(std::string_view(body).substr(used), sink).consumed;
  EXPECT_EQ(sink.body, "abcde");
  EXPECT_EQ(used, body.size());
  EXPECT_TRUE(parser.done());
}

TEST(RequestParser, LeavesTheNextRequestOfAPipelineAlone) {
  const std::string one = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  RequestParser parser({});
  EXPECT_EQ(parser.ParseHead(one + one).consumed, one.size());
  EXPECT_TRUE(parser.done());
  parser.Reset();
  EXPECT_EQ(parser.ParseHead(one).consumed, one.size());
}

TEST(RequestParser, RefusesWhatTwoParsersCouldReadInTwoWays) {
  const std::string host = kHost;
  EXPECT_EQ(StatusOf(Get(host + "Content-Length: 0\r\n")), 200);
  EXPECT_EQ(StatusOf(Get("")), 400) << "no Host";
  EXPECT_EQ(StatusOf(Get(host + host)), 400) << "two Hosts";
  EXPECT_EQ(StatusOf(Get("Host: a b\r\n")), 400);
  EXPECT_EQ(StatusOf(Get("Host: a@b\r\n")), 400);
  EXPECT_EQ(StatusOf(Get("Host:\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Content-Length: 5\r\nContent-Length: 6\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Content-Length: 5\r\nContent-Length: 5\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Content-Length: 5, 5\r\n")), 400);
  for (const char* length : {"-1", "+5", "0x5", "5 5", "", "99999999999999999999999", "5;", "1e3"})
    EXPECT_EQ(StatusOf(Get(host + "Content-Length: " + length + "\r\n")), 400) << length;
  EXPECT_EQ(StatusOf(Get(host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Transfer-Encoding: gzip, chunked\r\n")), 501);
  EXPECT_EQ(StatusOf(Get(host + "Transfer-Encoding: identity\r\n")), 501);
  EXPECT_EQ(StatusOf(Get(host + "Transfer-Encoding: xchunked\r\n")), 501);
  EXPECT_EQ(StatusOf("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(Get(host + "A: b\r\n c\r\n")), 400) << "folded";
  EXPECT_EQ(StatusOf(Get(host + "A: b\r\n\tc\r\n")), 400) << "folded";
  EXPECT_EQ(StatusOf(Get(host + "A : b\r\n")), 400) << "space before the colon";
  EXPECT_EQ(StatusOf(Get(host + ": b\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "A\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "A: b\rc\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "A: b\nc: d\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + std::string("A: b\0c\r\n", 8))), 400);
  EXPECT_EQ(StatusOf(Get(host + "A: \x01\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "X-API-Key: a\r\nX-API-Key: b\r\n")), 400);
  EXPECT_EQ(StatusOf(Get(host + "Authorization: a\r\nAuthorization: b\r\n")), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\nHost: h\n\n"), 400);
  EXPECT_EQ(StatusOf("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1 \r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("G(T / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET /\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(" GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("\x16\x03\x01\x02\x01"), 400) << "a TLS hello on a plain port";
  EXPECT_EQ(StatusOf("GET / HTTP/1.0\r\n\r\n"), 200) << "HTTP/1.0 needs no Host";
}

TEST(RequestParser, RefusesBadChunks) {
  const auto chunked = [](const std::string& body) {
    return StatusOf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  };
  EXPECT_EQ(chunked("0\r\n\r\n"), 200);
  EXPECT_EQ(chunked("2\r\nab\r\n0\r\n\r\n"), 200);
  for (const char* bad :
       {"x\r\n", "-1\r\nab\r\n", "\r\n", " 2\r\nab", "2 \r\nabc", "0x2\r\nab\r\n\r\n", "2\nab\n\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFFF\r\n", "2;\x01\r\nab\r\n"})
    EXPECT_EQ(chunked(bad), 400) << bad;
  EXPECT_EQ(chunked("2;" + std::string(1000, 'x') + "\r\nab\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(chunked("2;" + std::string(9000, 'x')), 400) << "refused before the line ends";
  EXPECT_EQ(chunked("0\r\n" + std::string(9000, 'x')), 400);
}

TEST(RequestParser, BoundsTheHead) {
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "A: b\r\n";
  EXPECT_EQ(StatusOf(Get(kHost + fields)), 200);
  EXPECT_EQ(StatusOf(Get(kHost + fields + "A: b\r\n")), 431);
  EXPECT_EQ(StatusOf(Get(kHost + ("A: " + std::string(16 << 10, 'b')))), 431);
  EXPECT_EQ(StatusOf("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 414);
  EXPECT_EQ(StatusOf("GET /" + std::string(9000, 'a')), 414) << "refused before the line ends";
}

TEST(RequestParser, BoundsTheBodyAsItComes) {
  RequestParser parser({});
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  ASSERT_EQ(parser.ParseHead(head).consumed, head.size());
  parser.LimitBody(10);
  Collect sink;
  EXPECT_EQ(parser.ParseBody("b\r\nabcdefghijk\r\n0\r\n\r\n", sink).status, 413);
  EXPECT_EQ(sink.body, "");
  // The size alone tells.
  for (const char* size : {"b\r\n", "7fffffffffffffff\r\n", "ffffffffffffffff\r\n", "5\r\nabcde\r\n6\r\n"}) {
    parser.Reset();
    ASSERT_EQ(parser.ParseHead(head).consumed, head.size());
    parser.LimitBody(10);
    EXPECT_EQ(parser.ParseBody(size, sink).status, 413) << size;
  }
}

TEST(RequestParser, KnowsWhenTheConnectionStays) {
  const auto keep = [](const std::string& text) {
    RequestParser parser({});
    EXPECT_GT(parser.ParseHead(text).consumed, 0u);
    return parser.head().keep_alive;
  };
  EXPECT_TRUE(keep("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  EXPECT_FALSE(keep("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
  EXPECT_FALSE(keep("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keep("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

}  // namespace
}  // namespace csb::http
