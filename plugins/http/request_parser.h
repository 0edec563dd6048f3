// SPDX-License-Identifier: Apache-2.0
//
// request_parser.h: HTTP/1.x requests out of hostile bytes. Boost.Beast parses; before it sees a
// header, every byte is checked against a stricter reading of RFC 9112, so that nothing is left
// that two parsers could read in two ways: bare CR or LF, NUL and control characters, folded
// lines, repeated Host or Content-Length, lists of lengths, Content-Length with
// Transfer-Encoding, any coding but one `chunked`.
//
//   RequestParser parser(limits);
//   auto used = parser.ParseHead(buffered);         // 0: more bytes are needed
//   if (!used.ok()) Answer(used.status, used.message), Close();
//   while (!parser.done()) used = parser.ParseBody(rest, sink);
//
// Needs no socket and allocates nothing but the joined Accept; one parser serves a connection's
// requests one after the other (Reset). Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace csb::http {

struct ParserLimits {
  size_t header_bytes = 16 << 10;  // request line and fields, with their line ends
  size_t fields = 100;
  size_t target_bytes = 8 << 10;
};

// Views into the bytes given to ParseHead; absent fields are empty.
struct RequestHead {
  std::string_view method;
  std::string_view target;
  bool http11 = true;
  bool keep_alive = true;
  bool has_body = false;  // bytes follow, by length or chunked
  bool chunked = false;
  std::optional<uint64_t> content_length;  // as announced
  std::string_view host, content_type, content_encoding, authorization, api_key, expect, origin, fetch_site;
  std::string_view range, if_range, if_none_match, request_id;
  std::optional<std::string_view> instance, idempotency_key;  // given and empty is not absent
  std::string_view upgrade, connection, web_socket_key, web_socket_version, web_socket_protocol;
  std::optional<std::string_view> mcp_version, mcp_method, mcp_name, mcp_session;
  std::string accept;  // repeated Accept fields joined by ", "
};

// How many bytes were consumed, or why the connection must be answered and closed.
struct ParseResult {
  size_t consumed = 0;
  int status = 0;  // 0: fine; else 400, 413, 431 or 501
  std::string message;
  bool blocked = false;  // the sink took less than it was offered
  bool ok() const { return status == 0; }
};

// Takes body bytes; may take fewer than offered, the rest is offered again by the next ParseBody.
class BodySink {
 public:
  virtual size_t TakeBody(std::string_view bytes) = 0;

 protected:
  ~BodySink() = default;
};

class RequestParser {
 public:
  explicit RequestParser(const ParserLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // `buffered` starts at the request's first byte and grows from call to call until the head is
  // complete. consumed > 0: head() is valid as long as those bytes stay where they are.
  ParseResult ParseHead(std::string_view buffered);
  const RequestHead& head() const;

  // The body may have at most this many bytes (default: none at all); checked as they come.
  void LimitBody(uint64_t bytes);
  // Call with all bytes that are buffered and not consumed yet.
  ParseResult ParseBody(std::string_view buffered, BodySink& sink);

  // Head and body have been read.
  bool done() const;
  uint64_t body_bytes() const;
  void Reset();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb::http
