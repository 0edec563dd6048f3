// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/probe.h"

#include <optional>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/printable.h"
#include "plugins/remote/answer.h"

namespace csb::remote {
namespace {

using namespace std::chrono_literals;

constexpr auto kLimit = 2s;  // of each of two questions, one after the other; a description may follow
constexpr size_t kMaxAnswer = 1 << 20;

struct Found {
  std::optional<Error> why;  // not to be used
  std::string version, isolation;
  std::string enforces = "{}";  // as the service's own chosen backend tells it
};

// "status": "unhealthy" with what its backends say.
Error Unhealthy(const json::Value& health, const std::string& where) {
  std::string reasons;
  const json::Value* backends = json::Find(health, "backends");
  if (backends != nullptr && backends->IsObject())
    for (const auto& backend : backends->GetObject()) {
      if (json::GetBool(backend.value, "available").value_or(false)) continue;
      const std::string_view reason = json::GetString(backend.value, "reason").value_or("");
      if (!reason.empty() && reasons.size() < 400)
        reasons += (reasons.empty() ? "" : "; ") + std::string(backend.name.GetString()) + ": " +
                   Printable(reason, 120);
    }
  return {CSB_E_UNAVAILABLE,
          "the sandbox service at " + where + " is unhealthy" + (reasons.empty() ? "" : " (" + reasons + ")"),
          "look at that service: clara-sandbox doctor there", true};
}

// What its info says of the backend that a new sandbox would get there.
void ReadInfo(const json::Value& info, Found* found) {
  found->version = Printable(json::GetString(info, "version").value_or(""), 80);
  const json::Value* candidates = json::Find(info, "candidates");
  if (candidates == nullptr || !candidates->IsArray()) return;
  for (const json::Value& candidate : candidates->GetArray()) {
    if (!json::GetBool(candidate, "chosen").value_or(false)) continue;
    found->isolation = Printable(json::GetString(candidate, "name").value_or(""), 80) + ": " +
                       Printable(json::GetString(candidate, "isolation").value_or(""), 200);
    if (const json::Value* enforces = json::Find(candidate, "enforces");
        enforces != nullptr && enforces->IsObject())
      found->enforces = json::ToString(*enforces);
  }
}

class Round : public std::enable_shared_from_this<Round> {
 public:
  Round(std::shared_ptr<Links> links, std::function<void(std::string)> done)
      : links_(std::move(links)),
        done_(std::move(done)),
        found_(links_->all().size()),
        left_(found_.size()) {}

  void Start() {
    for (size_t i = 0; i < found_.size(); ++i) AskHealth(i);
  }

 private:
  Link& At(size_t i) { return *links_->all()[i]; }

  void Get(size_t i, const char* target, std::function<void(const HttpResponse&)> then) {
    HttpRequest request = links_->Prepare(At(i), {.target = target, .timeout = kLimit});
    request.max_body = kMaxAnswer;
    request.keep.emplace_back("X-Sandbox-Instance");
    At(i).client->Start(std::move(request), [self = shared_from_this(), i,
                                             then = std::move(then)](Result<HttpResponse> answer) {
      if (!answer) return self->End(i, ErrorOfTransport(answer.error(), self->At(i).where(), true, true));
      then(*answer);
    });
  }

  void AskHealth(size_t i) {
    Get(i, "/health", [self = shared_from_this(), i](const HttpResponse& answer) {
      const std::string& where = self->At(i).where();
      const auto document = json::ParseObject(answer.body);
      const bool told = document && json::GetString(*document, "status").has_value();
      if (answer.status == 503 && told) return self->End(i, Unhealthy(*document, where));
      if (answer.status != 200) return self->End(i, ErrorOf(answer, where));
      if (auto object = ObjectOf(answer, where); !object || !told)
        return self->End(
            i, object ? ErrorOf({.status = 200, .content_type = answer.content_type, .etag = "", .body = ""},
                                where)
                      : object.error());
      self->AskInfo(i);
    });
  }

  // The first call that needs the key.
  void AskInfo(size_t i) {
    Get(i, "/info", [self = shared_from_this(), i](const HttpResponse& answer) {
      Link& link = self->At(i);
      if (answer.status != 200 && answer.status != 404) return self->End(i, ErrorOf(answer, link.where()));
      const auto info = answer.status == 200 ? ObjectOf(answer, link.where()) : json::ParseObject("{}");
      if (!info) return self->End(i, info.error());
      ReadInfo(*info, &self->found_[i]);
      const std::string instance = Printable(answer.Header("X-Sandbox-Instance"), 64);
      bool again;
      {
        const std::lock_guard lock(link.mutex);
        // One that does not tell may have been started anew each time.
        again = instance.empty() || link.instance != instance;
        link.instance = instance;
      }
      if (self->links_->closed()) return self->End(i, Error{CSB_E_CANCELLED, "shutting down", "", true});
      self->links_->Learn(link, again, [self, i](Status known) {
        self->End(i, known ? std::nullopt : std::optional<Error>(known.error()));
      });
    });
  }

  void End(size_t i, std::optional<Error> why) {
    found_[i].why = std::move(why);
    if (!found_[i].why) At(i).MarkUp();
    if (--left_ == 0) std::exchange(done_, nullptr)(Text());
  }

  std::string Text() {
    size_t usable = 0, first = found_.size();
    std::string reason, hint;
    for (size_t i = 0; i < found_.size(); ++i) {
      if (!found_[i].why) {
        if (usable++ == 0) first = i;
      } else {
        reason += (reason.empty() ? "" : "; ") + found_[i].why->message;
        if (hint.empty()) hint = found_[i].why->hint;
      }
    }
    const Options& options = links_->options();
    if (options.in_clear) {
      reason +=
          std::string(reason.empty() ? "" : "; ") + "the API key goes over plain HTTP to another machine";
      if (hint.empty()) hint = "use https in remote.url";
    }
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "available", usable > 0);
    json::Member(w, "reason", std::string_view(reason));
    json::Member(w, "hint", std::string_view(hint));
    const bool any = first < found_.size();
    const Peer peer = any ? At(first).Offers() : Peer();
    const std::string title = peer.title.empty() ? "a sandbox service" : peer.title;
    json::Member(
        w, "version",
        std::string_view(any ? title + " " + found_[first].version + " at " + At(first).where() : ""));
    json::Member(w, "isolation",
                 std::string_view(any && !found_[first].isolation.empty()
                                      ? "that of the service: " + found_[first].isolation
                                      : "that of the service at remote.url"));
    json::Key(w, "enforces");
    const std::string& enforces = any ? found_[first].enforces : "{}";
    w.RawValue(enforces.data(), enforces.size(), rapidjson::kObjectType);
    json::Key(w, "details");
    w.StartObject();
    json::Key(w, "addresses");
    w.StartArray();
    for (size_t i = 0; i < found_.size(); ++i) WriteAddress(w, i);
    w.EndArray();
    json::Member(w, "shared", options.shared);
    w.EndObject();
    w.EndObject();
    return {buffer.GetString(), buffer.GetSize()};
  }

  void WriteAddress(json::Writer& w, size_t i) {
    const auto& why = found_[i].why;
    const Peer peer = At(i).Offers();
    w.StartObject();
    json::Member(w, "url", std::string_view(At(i).where()));
    json::Member(w, "available", !why);
    if (why) json::Member(w, "reason", std::string_view(why->message));
    json::Member(w, "title", std::string_view(peer.title));
    json::Member(w, "version", std::string_view(found_[i].version));
    json::Member(w, "described", peer.described);
    if (!why) {
      WriteList(w, "offers", peer.Offers());
      WriteList(w, "lacks", peer.Lacks());
    }
    w.EndObject();
  }

  static void WriteList(json::Writer& w, const char* name, const std::vector<std::string>& list) {
    json::Key(w, name);
    w.StartArray();
    for (const std::string& text : list) json::String(w, text);
    w.EndArray();
  }

  const std::shared_ptr<Links> links_;
  std::function<void(std::string)> done_;
  std::vector<Found> found_;  // the reactor's thread
  size_t left_;
};

}  // namespace

void Probe(std::shared_ptr<Links> links, std::function<void(std::string)> done) {
  if (links->all().empty())
    return done(R"j({"available":false,"reason":"no remote service is configured",)j"
                R"j("hint":"set remote.url (SANDBOX_API_URL)","version":"","isolation":"","enforces":{},)j"
                R"j("details":{}})j");
  std::make_shared<Round>(std::move(links), std::move(done))->Start();
}

}  // namespace csb::remote
