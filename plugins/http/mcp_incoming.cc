// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/mcp_incoming.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/http/media.h"

namespace csb::http {
namespace {

constexpr size_t kMaxSession = 128;

std::optional<std::string> Owned(const std::optional<std::string_view>& field) {
  return field ? std::optional<std::string>(*field) : std::nullopt;
}

bool Takes(std::string_view accept, std::string_view type, std::string_view wildcard) {
  if (accept.empty() || NamedQuality(accept, type) > 0) return true;
  if (NamedQuality(accept, type) == 0) return false;
  return NamedQuality(accept, "*/*") > 0 || NamedQuality(accept, wildcard) > 0;
}

// The rules of the REST API: a key's users, and so many requests a minute of each.
mcp::Access AccessOf(App& app, std::shared_ptr<const KeyRing> keys, const Key* key) {
  return [&app, keys = std::move(keys), key](std::string_view user) -> Status {
    if (Status good = CheckUserId(user); !good) return good;
    if (key != nullptr && !key->Allows(user))
      return Error{CSB_E_FORBIDDEN, "user_id: this key may not act for that user",
                   "the key's users stand in http.keys_file", false};
    if (const double wait = app.limiter.Take(user, app.host.NowNs()); wait > 0) {
      app.host.Count("csb_http_refused_total", 1, R"({"reason":"rate"})");
      return Error{CSB_E_RATE_LIMITED,
                   "more than " + std::to_string(app.settings.rate_limit) + " requests a minute of this user",
                   "try again in " + std::to_string(static_cast<int64_t>(std::ceil(wait))) + " s", true};
    }
    return {};
  };
}

}  // namespace

Result<McpIncoming> MakeMcpIncoming(App& app, ThreadState& thread, const RequestHead& head, const Key* key) {
  // A page of another site can post a form here without being asked; it cannot post JSON.
  if (!IsJson(head.content_type))
    return Error{CSB_E_UNSUPPORTED, "Content-Type: application/json is expected", "", false};
  McpIncoming in;
  in.takes_json = Takes(head.accept, kJson, "application/*");
  in.takes_events = Takes(head.accept, kEventStream, "text/*");
  if (!in.takes_json && !in.takes_events)
    return Error{CSB_E_CONFLICT, "Accept: application/json and text/event-stream are answered", "", false};
  in.session.http = true;
  in.session.headers = {Owned(head.mcp_version), Owned(head.mcp_method), Owned(head.mcp_name)};
  in.session.peers = app.mcp_peers;
  in.session.access = AccessOf(app, thread.keys, key);
  if (key != nullptr && key->users.size() == 1) in.session.default_user = key->users.front();
  if (head.mcp_session) {
    const auto visible = [](char c) { return c > 0x20 && c < 0x7F; };
    if (head.mcp_session->empty() || head.mcp_session->size() > kMaxSession ||
        !std::all_of(head.mcp_session->begin(), head.mcp_session->end(), visible))
      return Error{CSB_E_BAD_REQUEST, "Mcp-Session-Id: not one that this server gave", "", false};
    // Nothing is stored of a session: its id only tells whose requests a cancel or an answer may mean.
    in.session.scope = *head.mcp_session;
    in.session.scope += '\0';
    if (key != nullptr)
      in.session.scope.append(reinterpret_cast<const char*>(key->digest.data()), key->digest.size());
  }
  return in;
}

Reply McpRefusal(const Error& error) {
  Reply reply = ErrorReply(error);
  if (error.code == CSB_E_UNSUPPORTED) reply.status = 415;
  if (error.code == CSB_E_CONFLICT) reply.status = 406;
  return reply;
}

}  // namespace csb::http
