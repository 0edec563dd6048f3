// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

namespace csb::http {
namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using beast::error_code;
using BView = beast::string_view;

std::string_view View(BView s) { return {s.data(), s.size()}; }

// A chunk's size line and a trailer need no more; what is longer is an attack on memory or time.
constexpr size_t kMaxChunkLine = 4 << 10;
constexpr size_t kMaxChunkExtension = 256;
constexpr size_t kMaxLeadingLines = 4;  // bytes of CRLF that may precede a request (RFC 9112 §2.2)

// reg-name, IP literal and port as they occur in practice; refuses spaces, `/`, `@`, `,`, quotes.
bool PlausibleHost(std::string_view host) {
  return !host.empty() && host.size() <= 512 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~%:[]").find(c) != std::string_view::npos;
  });
}

}  // namespace

class RequestParser::Impl {
 public:
  explicit Impl(const ParserLimits& limits) : limits_(limits) { Reset(); }

  void Reset() {
    head_ = RequestHead();
    head_.accept.clear();
    beast_.emplace(*this);
    scanned_ = lines_ = 0;
    seen_ = 0;
    body_limit_ = body_bytes_ = 0;
    status_ = 0;
    message_.clear();
    sink_ = nullptr;
  }

  ParseResult ParseHead(std::string_view buffered) {
    size_t skip = 0;
    while (skip < kMaxLeadingLines && buffered.substr(skip, 2) == "\r\n") skip += 2;
    const std::string_view rest = buffered.substr(skip);
    const size_t size = ScanHead(rest);
    if (status_ != 0) return Failed();
    if (size == 0) return {};
    error_code ec;
    const size_t used = beast_->put(boost::asio::const_buffer(rest.data(), size), ec);
    if (status_ != 0) return Failed();
    if (ec || used != size || !beast_->is_header_done()) {
      Fail(400, "malformed request header: " + (ec ? ec.message() : std::string("trailing bytes")));
      return Failed();
    }
    if (!FinishHead()) return Failed();
    return {skip + size, 0, {}, false};
  }

  ParseResult ParseBody(std::string_view buffered, BodySink& sink) {
    sink_ = &sink;
    size_t used = 0;
    while (!beast_->is_done() && used < buffered.size()) {
      error_code ec;
      const std::string_view rest = buffered.substr(used);
      const size_t n = beast_->put(boost::asio::const_buffer(rest.data(), rest.size()), ec);
      used += n;
      if (status_ != 0) return Failed();
      if (ec == bhttp::error::need_buffer) {
        sink_ = nullptr;
        return {used, 0, {}, true};
      }
      if (ec == bhttp::error::need_more) {
        if (buffered.size() - used <= kMaxChunkLine) break;
        Fail(400, "chunked body: a chunk's size line or the trailer is too long");
        return Failed();
      }
      if (ec) {
        Fail(400, "chunked body: " + ec.message());
        return Failed();
      }
    }
    sink_ = nullptr;
    return {used, 0, {}, false};
  }

  bool done() const { return beast_->is_header_done() && beast_->is_done(); }
  uint64_t body_bytes() const { return body_bytes_; }
  void LimitBody(uint64_t bytes) { body_limit_ = bytes; }
  const RequestHead& head() const { return head_; }

 private:
  enum Seen : unsigned {
    kHost = 1,
    kLength = 2,
    kCoding = 4,
    kType = 8,
    kAuthorization = 16,
    kApiKey = 32,
    kOrigin = 64,
    kRange = 128,
    kExpect = 256,
    kInstance = 512,
    kIdempotencyKey = 1024,
    kMcpVersion = 2048,
    kMcpMethod = 4096,
    kMcpName = 8192,
    kMcpSession = 16384,
    kWebSocketKey = 32768,
    kWebSocketProtocol = 65536,
  };

  // Beast's parser with views instead of a field container: no allocation a field.
  struct Parser : bhttp::basic_parser<true> {
    explicit Parser(Impl& owner) : owner_(owner) {
      header_limit(static_cast<std::uint32_t>(owner.limits_.header_bytes));
      body_limit(boost::none);  // counted in OnBody, where our own message is made
      eager(false);
    }
    void on_request_impl(bhttp::verb, BView method, BView target, int version, error_code&) override {
      owner_.head_.method = View(method);
      owner_.head_.target = View(target);
      owner_.head_.http11 = version == 11;
    }
    void on_response_impl(int, BView, int, error_code&) override {}
    void on_field_impl(bhttp::field field, BView name, BView value, error_code& ec) override {
      if (is_header_done()) return;  // a trailer: read over
      if (!owner_.OnField(field, View(name), View(value))) ec = bhttp::error::bad_field;
    }
    void on_header_impl(error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    size_t on_body_impl(BView bytes, error_code& ec) override { return owner_.OnBody(View(bytes), ec); }
    void on_chunk_header_impl(std::uint64_t size, BView extensions, error_code& ec) override {
      if (extensions.size() > kMaxChunkExtension)
        ec = bhttp::error::bad_chunk_extension;
      else if (size > owner_.body_limit_ - owner_.body_bytes_)
        owner_.BodyTooLarge(ec);  // before the first byte of it is waited for
    }
    size_t on_chunk_body_impl(std::uint64_t, BView bytes, error_code& ec) override {
      return owner_.OnBody(View(bytes), ec);
    }
    void on_finish_impl(error_code&) override {}
    Impl& owner_;
  };

  void Fail(int status, std::string message) {
    status_ = status;
    message_ = std::move(message);
  }
  ParseResult Failed() const { return {0, status_, message_, false}; }

  // Size of the head with its empty line; 0 while it is incomplete. Each byte is looked at once.
  size_t ScanHead(std::string_view bytes) {
    for (size_t i = scanned_; i < bytes.size();) {
      const auto c = static_cast<unsigned char>(bytes[i]);
      if (c == '\r') {
        if (i + 1 < bytes.size() && bytes[i + 1] != '\n') return Bad("a CR without its LF");
        if (i + 2 >= bytes.size()) return Incomplete(bytes, i);
        if (bytes[i + 2] == ' ' || bytes[i + 2] == '\t') return Bad("a folded line");
        if (bytes[i + 2] == '\r') {
          if (i + 3 >= bytes.size()) return Incomplete(bytes, i);
          if (bytes[i + 3] != '\n') return Bad("a CR without its LF");
          if (i + 4 > limits_.header_bytes) return TooLarge();
          return i + 4;
        }
        if (++lines_ > limits_.fields) {
          Fail(431, "more than " + std::to_string(limits_.fields) + " header fields");
          return 0;
        }
        i += 2;
      } else if ((c < 0x20 && c != '\t') || c == 0x7F) {
        return Bad(c == '\n' ? "a LF without its CR" : "a control character");
      } else {
        if (lines_ == 0 && i > limits_.target_bytes + 32) return TargetTooLong();
        ++i;
      }
    }
    return Incomplete(bytes, bytes.size());
  }
  size_t Incomplete(std::string_view bytes, size_t scanned) {
    scanned_ = scanned;
    return bytes.size() >= limits_.header_bytes ? TooLarge() : 0;
  }
  size_t TooLarge() {
    Fail(431, "the request header is larger than " + std::to_string(limits_.header_bytes) + " bytes");
    return 0;
  }
  size_t TargetTooLong() {
    Fail(414, "the request target is longer than " + std::to_string(limits_.target_bytes) + " bytes");
    return 0;
  }
  size_t Bad(const char* what) {
    Fail(400, std::string("malformed request header: it has ") + what);
    return 0;
  }

  bool Once(Seen field, const char* name) {
    if ((seen_ & field) != 0) {
      Fail(400, std::string("the header field ") + name + " is given twice");
      return false;
    }
    seen_ |= field;
    return true;
  }

  bool OnField(bhttp::field field, std::string_view name, std::string_view value) {
    switch (field) {
      case bhttp::field::host:
        head_.host = value;
        return Once(kHost, "Host");
      case bhttp::field::content_length:
        if (value.find_first_not_of("0123456789") != std::string_view::npos) {
          Fail(400, "the header field Content-Length is not one number");
          return false;
        }
        return Once(kLength, "Content-Length");
      case bhttp::field::transfer_encoding:
        if (!beast::iequals(BView(value.data(), value.size()), "chunked")) {
          Fail(501, "only the transfer coding `chunked` is understood");
          return false;
        }
        return Once(kCoding, "Transfer-Encoding");
      case bhttp::field::content_type:
        head_.content_type = value;
        return Once(kType, "Content-Type");
      case bhttp::field::content_encoding:
        head_.content_encoding = value;
        return true;
      case bhttp::field::authorization:
        head_.authorization = value;
        return Once(kAuthorization, "Authorization");
      case bhttp::field::expect:
        head_.expect = value;
        return Once(kExpect, "Expect");
      case bhttp::field::origin:
        head_.origin = value;
        return Once(kOrigin, "Origin");
      case bhttp::field::range:
        head_.range = value;
        return Once(kRange, "Range");
      case bhttp::field::if_range:
        head_.if_range = value;
        return true;
      case bhttp::field::if_none_match:
        head_.if_none_match = value;
        return true;
      case bhttp::field::accept:
        if (!head_.accept.empty()) head_.accept += ", ";
        head_.accept += value;
        return true;
      case bhttp::field::upgrade:
        head_.upgrade = value;
        return true;
      case bhttp::field::connection:
        head_.connection = value;
        return true;
      case bhttp::field::sec_websocket_key:
        head_.web_socket_key = value;
        return Once(kWebSocketKey, "Sec-WebSocket-Key");
      case bhttp::field::sec_websocket_version:
        head_.web_socket_version = value;
        return true;
      case bhttp::field::sec_websocket_protocol:
        head_.web_socket_protocol = value;
        return Once(kWebSocketProtocol, "Sec-WebSocket-Protocol");
      default:
        break;
    }
    const auto is = [&](BView wanted) { return beast::iequals(BView(name.data(), name.size()), wanted); };
    if (is("X-API-Key")) {
      head_.api_key = value;
      return Once(kApiKey, "X-API-Key");
    }
    if (is("Sec-Fetch-Site")) head_.fetch_site = value;
    if (is("X-Request-Id")) head_.request_id = value;
    if (is("X-Sandbox-Instance")) {
      head_.instance = value;
      return Once(kInstance, "X-Sandbox-Instance");
    }
    if (is("MCP-Protocol-Version")) {
      head_.mcp_version = value;
      return Once(kMcpVersion, "MCP-Protocol-Version");
    }
    if (is("Mcp-Method")) {
      head_.mcp_method = value;
      return Once(kMcpMethod, "Mcp-Method");
    }
    if (is("Mcp-Name")) {
      head_.mcp_name = value;
      return Once(kMcpName, "Mcp-Name");
    }
    if (is("Mcp-Session-Id")) {
      head_.mcp_session = value;
      return Once(kMcpSession, "Mcp-Session-Id");
    }
    if (is("Idempotency-Key")) {
      head_.idempotency_key = value;
      return Once(kIdempotencyKey, "Idempotency-Key");
    }
    return true;
  }

  bool FinishHead() {
    head_.keep_alive = beast_->keep_alive();
    head_.chunked = beast_->chunked();
    head_.has_body = !beast_->is_done();
    if (const auto length = beast_->content_length()) head_.content_length = *length;
    if (head_.target.size() > limits_.target_bytes)
      TargetTooLong();
    else if (head_.chunked && !head_.http11)
      Bad("Transfer-Encoding in HTTP/1.0");
    else if (head_.http11 && (seen_ & kHost) == 0)
      Bad("no Host");
    else if ((seen_ & kHost) != 0 && !PlausibleHost(head_.host))
      Bad("a Host that is no host name");
    return status_ == 0;
  }

  size_t BodyTooLarge(error_code& ec) {
    Fail(413, "the request body is larger than " + std::to_string(body_limit_) + " bytes");
    ec = bhttp::error::body_limit;
    return 0;
  }
  size_t OnBody(std::string_view bytes, error_code& ec) {
    if (bytes.size() > body_limit_ - body_bytes_) return BodyTooLarge(ec);
    const size_t taken = sink_->TakeBody(bytes);
    body_bytes_ += taken;
    if (taken < bytes.size()) ec = bhttp::error::need_buffer;
    return taken;
  }

  ParserLimits limits_;
  RequestHead head_;
  std::optional<Parser> beast_;
  size_t scanned_ = 0;
  size_t lines_ = 0;  // complete lines so far; the request line is not counted against `fields`
  unsigned seen_ = 0;
  uint64_t body_limit_ = 0;
  uint64_t body_bytes_ = 0;
  int status_ = 0;
  std::string message_;
  BodySink* sink_ = nullptr;
};

RequestParser::RequestParser(const ParserLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;
ParseResult RequestParser::ParseHead(std::string_view buffered) { return impl_->ParseHead(buffered); }
const RequestHead& RequestParser::head() const { return impl_->head(); }
void RequestParser::LimitBody(uint64_t bytes) { impl_->LimitBody(bytes); }
ParseResult RequestParser::ParseBody(std::string_view b, BodySink& sink) { return impl_->ParseBody(b, sink); }
bool RequestParser::done() const { return impl_->done(); }
uint64_t RequestParser::body_bytes() const { return impl_->body_bytes(); }
void RequestParser::Reset() { impl_->Reset(); }

}  // namespace csb::http
