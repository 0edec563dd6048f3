// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/dispatch.h"

#include <algorithm>
#include <cmath>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/idempotent_exchange.h"
#include "plugins/http/incoming.h"
#include "plugins/http/web_socket_codec.h"

namespace csb::http {
namespace {

// A body that is of no interest is read over up to this, so that the connection can be kept.
constexpr uint64_t kSmallBody = 64 << 10;
constexpr const char* kTerminalProtocol = "clara-sandbox";

bool SameWord(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(),
                    [](char x, char y) { return (x | 0x20) == y; });
}

// A client's own id for the logs, if it is plain; else ours.
std::string RequestId(App& app, std::string_view given) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:/").find(c) != std::string_view::npos;
  };
  if (!given.empty() && given.size() <= 64 && std::all_of(given.begin(), given.end(), plain))
    return std::string(given);
  return app.request_id_prefix + std::to_string(app.requests.fetch_add(1, std::memory_order_relaxed));
}

class Dispatcher {
 public:
  Dispatcher(App& app, ThreadState& thread, const RequestHead& head, Responder& out)
      : app_(app), thread_(thread), head_(head), out_(out) {}

  Dispatched Run() {
    Dispatched result;
    result.request_id = RequestId(app_, head_.request_id);
    result.head = head_.method == "HEAD";
    if (AllowedOrigin(app_.origins, head_.origin))
      result.fields = "Access-Control-Allow-Origin: " + std::string(head_.origin) +
                      "\r\nVary: Origin\r\nAccess-Control-Expose-Headers: *\r\n";
    auto exchange = Route(result);
    result.exchange = exchange ? *std::move(exchange) : Fixed(ErrorReply(exchange.error()));
    return result;
  }

 private:
  using Made = Result<std::unique_ptr<Exchange>>;

  std::unique_ptr<Exchange> Fixed(Reply reply) { return Fixed(std::move(reply), out_); }
  std::unique_ptr<Exchange> Fixed(Reply reply, Responder& out) {
    // An unread body would be taken for the next request.
    const bool large = head_.content_length.value_or(head_.chunked ? UINT64_MAX : 0) > kSmallBody;
    reply.close = reply.close || (head_.has_body && (large || !head_.expect.empty()));
    return FixedExchange(std::move(reply), out);
  }

  Made Route(Dispatched& result) {
    if (!head_.expect.empty() && !SameWord(head_.expect, "100-continue"))
      return Fixed(ErrorReply(417, "Expect: only 100-continue is understood"));
    if (auto status = CheckOrigin(app_.origins, head_.host, head_.origin, head_.fetch_site); !status)
      return std::move(status).error();
    if (head_.method == "OPTIONS" && head_.target == "*") return Options("GET, HEAD, POST, DELETE, OPTIONS");
    auto target = ParseTarget(head_.target);
    if (!target && target.error().code == CSB_E_BAD_REQUEST) {
      Reply reply = ErrorReply(target.error());
      reply.close = true;
      return Fixed(std::move(reply));
    }
    if (!target) return std::move(target).error();
    if (target->segments == std::vector<std::string>{"mcp"}) return Mcp(result);
    Match match = FindRoute(head_.method, target->segments);
    if (head_.method == "OPTIONS" && !match.allow.empty()) return Options(match.allow);
    if (match.route != nullptr) result.route = match.route->path;
    if (match.route != nullptr && (match.route->op == CSB_OP_HEALTH || match.route->op == CSB_OP_INFO))
      result.fields += InstanceField();

    const Key* key = nullptr;
    if (match.route == nullptr || match.route->access != Access::kOpen) {
      auto found = Authenticate(match.route);
      if (!found) return Unauthorized(found.error(), match.route);
      key = *found;
    }
    if (match.route == nullptr) {
      if (match.allow.empty()) return Error{CSB_E_NOT_FOUND, "no such path", "see /openapi.json", false};
      Reply reply = ErrorReply(405, "this path has other methods", match.allow);
      reply.fields = "Allow: " + match.allow + "\r\n";
      return Fixed(std::move(reply));
    }
    Incoming in;
    in.route = match.route;
    in.user = std::move(match.user);
    in.target = *std::move(target);
    if (auto status = Allow(in, key); !status) {
      if (status.error().code == CSB_E_RATE_LIMITED) return RateLimited(status.error());
      return std::move(status).error();
    }
    if (head_.instance && *head_.instance != app_.instance) return OtherInstance();
    in.request_id = result.request_id;
    in.head = result.head;
    in.has_body = head_.has_body;
    in.content_length = head_.content_length;
    in.content_type = head_.content_type;
    in.accept = head_.accept;
    in.range = head_.range;
    in.if_range = head_.if_range;
    in.if_none_match = head_.if_none_match;
    if (head_.idempotency_key && head_.method == "POST") return MakeOnce(std::move(in), key);
    return Make(std::move(in), out_);
  }

  // The path of MCP, whose requests are told apart by their bodies.
  Made Mcp(Dispatched& result) {
    result.route = "/mcp";
    if (head_.method == "OPTIONS") return Options("POST, OPTIONS");
    auto key = Authenticate(nullptr);
    if (!key) return Unauthorized(key.error(), nullptr);
    if (head_.method != "POST") {
      // No stream for messages that nobody asked for, and no session that could be ended.
      Reply reply = ErrorReply(405, "MCP messages are posted", "POST, OPTIONS");
      reply.fields = "Allow: POST, OPTIONS\r\n";
      return Fixed(std::move(reply));
    }
    if (!head_.content_encoding.empty() && !SameWord(head_.content_encoding, "identity"))
      return Fixed(ErrorReply(415, "Content-Encoding: bodies are not decompressed", "send it as it is"));
    if (head_.content_length.value_or(0) > app_.settings.max_body)
      return TooLarge("http.max_body", app_.settings.max_body);
    auto in = MakeMcpIncoming(app_, thread_, head_, *key);
    if (!in) return Fixed(McpRefusal(in.error()));
    return McpMessageExchange(app_, thread_, *std::move(in), out_);
  }

  Made Options(const std::string& allow) {
    Reply reply{.status = 204, .content_type = "", .fields = "Allow: " + allow + "\r\n"};
    if (AllowedOrigin(app_.origins, head_.origin))
      reply.fields += "Access-Control-Allow-Methods: " + allow +
                      "\r\nAccess-Control-Allow-Headers: X-API-Key, Authorization, Content-Type, Range, "
                      "X-Request-Id, Idempotency-Key, X-Sandbox-Instance, MCP-Protocol-Version, Mcp-Method, "
                      "Mcp-Name, Mcp-Session-Id\r\nAccess-Control-Max-Age: 600\r\n";
    return Fixed(std::move(reply));
  }

  // The key's entry; null when no key is configured.
  Result<const Key*> Authenticate(const http::Route* route) {
    if (thread_.keys->empty()) return nullptr;
    std::string basic;
    std::string_view presented = PresentedKey(head_.api_key, head_.authorization);
    if (presented.empty() && route != nullptr && route->answer == Answer::kTerminal) {
      basic = ProtocolKey(head_.web_socket_protocol);
      presented = basic;
    }
    if (presented.empty() && route != nullptr && route->access == Access::kDocument) {
      basic = BasicPassword(head_.authorization);
      presented = basic;
    }
    if (const Key* key = thread_.keys->Find(presented)) return key;
    app_.host.Count("csb_http_refused_total", 1, R"({"reason":"key"})");
    return Error{CSB_E_UNAUTHORIZED, presented.empty() ? "an API key is needed" : "the API key is wrong",
                 "send it as X-API-Key: KEY or Authorization: Bearer KEY", false};
  }

  Made Unauthorized(const Error& error, const http::Route* route) {
    Reply reply = ErrorReply(error);
    reply.fields = route != nullptr && route->access == Access::kDocument
                       ? "WWW-Authenticate: Basic realm=\"clara-sandbox: the API key is the password\"\r\n"
                       : "WWW-Authenticate: Bearer realm=\"clara-sandbox\"\r\n";
    return Fixed(std::move(reply));
  }

  Status Allow(const Incoming& in, const Key* key) {
    if (in.route->access == Access::kOperator && key != nullptr && !key->users.empty())
      return Error{CSB_E_FORBIDDEN, "this key is bound to users", "use a key without users", false};
    if (std::string_view(in.route->path).find("{user_id}") == std::string_view::npos) return {};
    if (auto status = CheckUserId(in.user); !status) return status;
    if (key != nullptr && !key->Allows(in.user))
      return Error{CSB_E_FORBIDDEN, "this key may not act for that user_id",
                   "the key's users stand in http.keys_file", false};
    if (const double wait = app_.limiter.Take(in.user, app_.host.NowNs()); wait > 0) {
      app_.host.Count("csb_http_refused_total", 1, R"({"reason":"rate"})");
      wait_ = wait;
      return Error{
          CSB_E_RATE_LIMITED,
          "more than " + std::to_string(app_.settings.rate_limit) + " requests a minute of this user",
          "wait as long as Retry-After says; the operator can raise SANDBOX_RATE_LIMIT", true};
    }
    return {};
  }

  std::string InstanceField() const { return "X-Sandbox-Instance: " + app_.instance + "\r\n"; }

  // A repetition of what an earlier process was asked: nobody here knows what became of that.
  Made OtherInstance() {
    Reply reply = ErrorReply(
        Error{CSB_E_GONE, "the service was started anew since; whether an earlier attempt ran is not known",
              "look at what it left, then decide; /health tells the X-Sandbox-Instance of now", false});
    reply.status = 409;
    return Fixed(std::move(reply));
  }

  Made RateLimited(const Error& error) {
    Reply reply = ErrorReply(error);
    reply.fields = "Retry-After: " + std::to_string(static_cast<int64_t>(std::ceil(wait_))) + "\r\n";
    return Fixed(std::move(reply));
  }

  // The first request with its Idempotency-Key is done; later ones are answered what it was.
  Made MakeOnce(Incoming in, const Key* key) {
    if (!IsIdempotencyKey(*head_.idempotency_key))
      return Error{CSB_E_INVALID, "Idempotency-Key: must be 1 to 128 visible ASCII characters",
                   "a random UUID is a good one", false};
    // Neither a user id nor a key has a NUL.
    std::string scope(*head_.idempotency_key);
    scope.append(1, '\0').append(in.user);
    if (key != nullptr)
      scope.append(1, '\0').append(reinterpret_cast<const char*>(key->digest.data()), key->digest.size());
    // The same bytes are another request where they are a file's and not JSON.
    const bool raw = IsRawWrite(in);
    const std::string start = std::string(raw ? "raw " : "json ") + std::string(head_.target) + "\n";
    auto [state, entry] = app_.idempotency.Begin(std::move(scope), Sha256(start), app_.host.NowNs());
    switch (state) {
      case Idempotency::Found::kNew:
        break;
      case Idempotency::Found::kUnderWay:
        return Fixed(UnderWayReply());
      case Idempotency::Found::kOther:
        return Fixed(OtherRequestReply("target"));
      case Idempotency::Found::kFull:
        return Error{CSB_E_NO_CAPACITY, "too many requests with an Idempotency-Key are under way",
                     "try again soon", true};
      case Idempotency::Found::kEnded:
        return ReplayExchange(app_, std::move(entry), RequestHash(start),
                              raw ? app_.settings.max_upload : app_.settings.max_body, out_);
    }
    auto once = std::make_unique<IdempotentExchange>(app_, std::move(entry), RequestHash(start), out_);
    auto inner = Make(std::move(in), *once);
    if (!inner) return inner;  // and the entry is forgotten
    once->Do(*std::move(inner));
    return std::unique_ptr<Exchange>(std::move(once));
  }

  static bool IsRawWrite(const Incoming& in) {
    return in.route->answer == Answer::kFileWrite && !IsJson(in.content_type) && in.target.Get("path");
  }

  Made Make(Incoming in, Responder& out) {
    const bool takes_body = std::string_view(in.route->method) == "POST";
    if (takes_body && !head_.content_encoding.empty() && !SameWord(head_.content_encoding, "identity"))
      return Fixed(ErrorReply(415, "Content-Encoding: bodies are not decompressed", "send it as it is"), out);
    switch (in.route->answer) {
      case Answer::kOpenApi:
        return Fixed({.body = app_.openapi}, out);
      case Answer::kDocs:
        return Fixed({.content_type = kHtml, .body = app_.docs, .fields = app_.docs_fields}, out);
      case Answer::kFileWrite:
        return Write(std::move(in), out);
      case Answer::kFileRead:
        return FormOfFile(in.accept) == Form::kBytes ? FileBytesExchange(app_, thread_, std::move(in), out)
                                                     : FileJsonExchange(app_, thread_, std::move(in), out);
      case Answer::kTerminal:
        return Terminal(std::move(in), out);
      case Answer::kProcessOutput:
        if (const Form form = FormOfExecution(in.accept); form != Form::kJson)
          return StreamedRunExchange(app_, thread_, std::move(in), out, form == Form::kEventStream);
        return ProcessOutputExchange(app_, thread_, std::move(in), out);
      default:
        break;
    }
    if (takes_body && head_.content_length.value_or(0) > app_.settings.max_body)
      return TooLarge("http.max_body", app_.settings.max_body);
    if (in.route->answer == Answer::kProcessInput)
      return ProcessInputExchange(app_, thread_, std::move(in), out);
    if (in.route->answer != Answer::kExecution) return ResultExchange(app_, thread_, std::move(in), out);
    const Form form = FormOfExecution(in.accept);
    if (form == Form::kJson) return BufferedRunExchange(app_, thread_, std::move(in), out);
    return StreamedRunExchange(app_, thread_, std::move(in), out, form == Form::kEventStream);
  }

  Made Terminal(Incoming in, Responder& out) {
    // RFC 6455, 4.2.1.
    if (!SameWord(head_.upgrade, "websocket") || !HasWord(head_.connection, "upgrade") || !head_.http11 ||
        head_.method != "GET") {
      Reply reply = ErrorReply(426, "this path is a WebSocket", "connect to it as ws:// or wss://");
      reply.fields = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
      return Fixed(std::move(reply), out);
    }
    if (head_.web_socket_version != "13") {
      Reply reply = ErrorReply(426, "Sec-WebSocket-Version: only 13 is understood", "");
      reply.fields = "Sec-WebSocket-Version: 13\r\n";
      return Fixed(std::move(reply), out);
    }
    if (WebSocketAccept(head_.web_socket_key).empty() || head_.has_body)
      return Fixed(ErrorReply(400, "Sec-WebSocket-Key: must be 16 bytes in base64, and there is no body", ""),
                   out);
    in.web_socket_key = head_.web_socket_key;
    if (HasWord(head_.web_socket_protocol, kTerminalProtocol)) in.web_socket_protocol = kTerminalProtocol;
    return TerminalExchange(app_, thread_, std::move(in), out);
  }

  Made Write(Incoming in, Responder& out) {
    const bool json = !IsRawWrite(in);
    if (IsMultipart(in.content_type))
      return Fixed(
          ErrorReply(415, "multipart bodies are not understood", "send the file's bytes as the body"), out);
    const uint64_t limit = json ? app_.settings.max_body : app_.settings.max_upload;
    if (head_.content_length.value_or(0) > limit)
      return TooLarge(json ? "http.max_body" : "http.max_upload", limit);
    return json ? FileWriteJsonExchange(app_, thread_, std::move(in), out)
                : FileUploadExchange(app_, thread_, std::move(in), out);
  }

  static Made TooLarge(const char* option, uint64_t limit) {
    return Error{CSB_E_TOO_LARGE, "the request body is larger than " + std::to_string(limit) + " bytes",
                 std::string("the operator can raise ") + option, false};
  }

  App& app_;
  ThreadState& thread_;
  const RequestHead& head_;
  Responder& out_;
  double wait_ = 0;
};

}  // namespace

Dispatched Dispatch(App& app, ThreadState& thread, const RequestHead& head, Responder& out) {
  return Dispatcher(app, thread, head, out).Run();
}

}  // namespace csb::http
