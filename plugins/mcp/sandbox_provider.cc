// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/sandbox_provider.h"

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "plugins/mcp/jsonrpc.h"
#include "plugins/mcp/resources.h"
#include "plugins/mcp/subscriptions.h"
#include "plugins/mcp/tool_run.h"

namespace csb::mcp {
namespace {

constexpr char kInstructions[] =
    "Tools that run untrusted code in an isolated Linux sandbox. Each user has an own sandbox with own "
    "files; relative paths start at /workspace, which outlives every call. Python keeps its "
    "variables between calls; what takes long goes on in the background, and its handle leads to it.";

// Everything fits one page, so no cursor was ever given out.
bool RefuseCursor(const ProviderRequest& request, Pending& pending) {
  if (request.params == nullptr || json::Find(*request.params, "cursor") == nullptr) return false;
  pending.Fail(kInvalidParams, "cursor: not one that this server gave");
  return true;
}

std::string JsonText(std::string_view text) {
  json::Buffer buffer;
  json::Writer w(buffer);
  json::String(w, text);
  return {buffer.GetString(), buffer.GetSize()};
}

// A tool's call, after whose answer its user's watched files are looked at.
class Followed final : public Pending {
 public:
  Followed(std::shared_ptr<Pending> call, std::shared_ptr<Subscriptions> subscriptions, std::string user)
      : call_(std::move(call)), subscriptions_(std::move(subscriptions)), user_(std::move(user)) {}

  void Result(std::string_view object) override {
    call_->Result(object);
    subscriptions_->CallEnded(user_);
  }
  void InputRequired(std::string_view object) override { call_->InputRequired(object); }
  void Fail(int code, std::string_view message, std::string_view data_json) override {
    call_->Fail(code, message, data_json);
    subscriptions_->CallEnded(user_);
  }
  bool WantsProgress() const override { return call_->WantsProgress(); }
  void Progress(std::string_view message) override { call_->Progress(message); }
  void Step(double done, double total, std::string_view message) override {
    call_->Step(done, total, message);
  }
  void Notify(std::string_view method, std::string_view params_json) override {
    call_->Notify(method, params_json);
  }
  void Ask(std::string_view method, std::string_view params_json,
           std::function<void(const json::Value& message)> then) override {
    call_->Ask(method, params_json, std::move(then));
  }
  void OnCancel(std::function<void()> stop) override { call_->OnCancel(std::move(stop)); }
  std::string_view id() const override { return call_->id(); }

 private:
  const std::shared_ptr<Pending> call_;
  const std::shared_ptr<Subscriptions> subscriptions_;
  const std::string user_;
};

class SandboxProvider final : public Provider {
 public:
  SandboxProvider(ServiceClient service, ToolOptions options)
      : service_(service),
        options_(std::move(options)),
        info_{"clara-sandbox", "Clara sandbox", CSB_VERSION, kInstructions} {}

  const ServerInfo& info() const override { return info_; }

  void WriteCapabilities(json::Writer& w, const Revision&, bool listens) const override {
    json::Key(w, "tools");
    w.StartObject();
    json::Member(w, "listChanged", false);
    w.EndObject();
    json::Key(w, "resources");
    w.StartObject();
    json::Member(w, "subscribe", listens);
    json::Member(w, "listChanged", false);
    w.EndObject();
  }
  void OnSessionEnd(const void* session) override { subscriptions_->Drop(session); }

  bool Handle(const ProviderRequest& request, std::shared_ptr<Pending> pending) override {
    if (request.method == "tools/list") {
      if (!RefuseCursor(request, *pending)) pending->Result(ToolList(request.revision));
    } else if (request.method == "tools/call") {
      CallTool(request, std::move(pending));
    } else if (request.method == "resources/list") {
      ListResources(service_, Bound(request), NextId(), request, std::move(pending));
    } else if (request.method == "resources/templates/list") {
      if (!RefuseCursor(request, *pending)) pending->Result(ResourceTemplates());
    } else if (request.method == "resources/read") {
      ReadResource(service_, Bound(request), NextId(), request, std::move(pending));
    } else if (request.method == "subscriptions/listen") {
      Listen(request, std::move(pending));
    } else if (request.method == "resources/subscribe" && request.tell) {
      Subscribe(request, std::move(pending));
    } else if (request.method == "resources/unsubscribe" && request.tell) {
      const auto uri = UriOf(request);
      if (!uri) return pending->Fail(kInvalidParams, "uri: a string is expected"), true;
      subscriptions_->Drop(request.session, *uri);
      pending->Result("{}");
    } else {
      return false;
    }
    return true;
  }

 private:
  std::string NextId() { return "mcp-" + std::to_string(++calls_made_); }

  // The options as they are for this client.
  ToolOptions Bound(const ProviderRequest& request) const {
    ToolOptions options = options_;
    if (!request.default_user.empty()) options.user = request.default_user;
    return options;
  }

  void CallTool(const ProviderRequest& request, std::shared_ptr<Pending> pending) {
    const auto name = request.params == nullptr ? std::nullopt : json::GetString(*request.params, "name");
    if (!name) return pending->Fail(kInvalidParams, "name: a string is expected");
    const Tool* tool = FindTool(*name);
    if (tool == nullptr)
      return pending->Fail(kInvalidParams, "Unknown tool: " + std::string(name->substr(0, 200)));
    const json::Value* arguments = json::Find(*request.params, "arguments");
    if (arguments != nullptr && !arguments->IsObject())
      return pending->Fail(kInvalidParams, "arguments: an object is expected");
    const ToolOptions options = Bound(request);
    auto made = MakeRequest(*tool, arguments, options);
    if (!made) return pending->Result(ErrorResult(made.error()));
    if (request.access)
      if (const Status allowed = request.access(made->user); !allowed)
        return pending->Result(ErrorResult(allowed.error()));
    auto watched = std::make_shared<Followed>(std::move(pending), subscriptions_, made->user);
    RunTool(service_, *tool, *std::move(made), request.revision, options, NextId(), std::move(watched));
  }

  static std::optional<std::string> UriOf(const ProviderRequest& request) {
    const auto uri = request.params == nullptr ? std::nullopt : json::GetString(*request.params, "uri");
    return uri && !uri->empty() ? std::optional<std::string>(*uri) : std::nullopt;
  }

  // The file that a client may watch; false: the request is answered.
  bool FileOf(const ProviderRequest& request, const std::string& uri, Pending& pending,
              Subscriptions::File* file) const {
    auto name = FindResource(Bound(request), request, uri, pending);
    if (!name) return false;
    file->user = std::move(name->user);
    file->path = std::move(name->path);
    file->uri = uri;
    return true;
  }

  static void TooMany(Pending& pending) {
    pending.Fail(kServerBusy, "too many files are watched; end a subscription first");
  }

  void Subscribe(const ProviderRequest& request, std::shared_ptr<Pending> pending) {
    const auto uri = UriOf(request);
    if (!uri) return pending->Fail(kInvalidParams, "uri: a string is expected");
    Subscriptions::File file{.owner = request.session};
    if (!FileOf(request, *uri, *pending, &file)) return;
    file.tell = [tell = request.tell](std::string_view uri) {
      return tell("notifications/resources/updated", "{\"uri\":" + JsonText(uri) + "}");
    };
    subscriptions_->Drop(request.session, *uri);  // once is enough
    if (!subscriptions_->Watch(std::move(file), [pending] { pending->Result("{}"); })) TooMany(*pending);
  }

  // Acknowledged once the state of each file is known; goes on until the client gives it up.
  void Listen(const ProviderRequest& request, std::shared_ptr<Pending> pending) {
    const json::Value* wanted =
        request.params == nullptr ? nullptr : json::Find(*request.params, "notifications");
    if (wanted == nullptr || !wanted->IsObject())
      return pending->Fail(kInvalidParams, "notifications: an object is expected");
    const std::string meta =
        "\"_meta\":{\"" + std::string(kMetaSubscription) + "\":" + std::string(pending->id()) + "}";
    std::vector<Subscriptions::File> files;
    std::string granted;
    const json::Value* uris = json::Find(*wanted, "resourceSubscriptions");
    if (uris != nullptr && uris->IsArray() && uris->Size() > Subscriptions::kMostOfUser)
      return TooMany(*pending);
    if (uris != nullptr && !uris->IsArray())
      return pending->Fail(kInvalidParams, "resourceSubscriptions: an array of URIs is expected");
    if (uris != nullptr)
      for (const json::Value& uri : uris->GetArray()) {
        if (!uri.IsString())
          return pending->Fail(kInvalidParams, "resourceSubscriptions: an array of URIs is expected");
        Subscriptions::File file{.owner = pending.get()};
        if (!FileOf(request, {uri.GetString(), uri.GetStringLength()}, *pending, &file)) return;
        granted += (granted.empty() ? "" : ",") + JsonText(file.uri);
        file.tell = [pending, meta](std::string_view changed) {
          pending->Notify("notifications/resources/updated",
                          "{" + meta + ",\"uri\":" + JsonText(changed) + "}");
          return true;
        };
        files.push_back(std::move(file));
      }
    // Nothing else that is offered here changes.
    const std::string acknowledged = "{" + meta + ",\"notifications\":{" +
                                     (granted.empty() ? "" : "\"resourceSubscriptions\":[" + granted + "]") +
                                     "}}";
    auto left = std::make_shared<std::atomic<size_t>>(files.size() + 1);
    const auto ready = [pending, left, acknowledged] {
      if (--*left == 0) pending->Notify("notifications/subscriptions/acknowledged", acknowledged);
    };
    for (Subscriptions::File& file : files)
      if (!subscriptions_->Watch(std::move(file), ready)) {
        subscriptions_->Drop(pending.get());
        return TooMany(*pending);
      }
    // After the last of them: a client that has given up meanwhile is told of at once.
    pending->OnCancel(
        [subscriptions = subscriptions_, owner = pending.get()] { subscriptions->Drop(owner); });
    ready();
  }

  const ServiceClient service_;
  const ToolOptions options_;
  const ServerInfo info_;
  const std::shared_ptr<Subscriptions> subscriptions_ = std::make_shared<Subscriptions>(service_);
  std::atomic<uint64_t> calls_made_{0};
};

}  // namespace

std::shared_ptr<Provider> MakeSandboxProvider(ServiceClient service, ToolOptions options) {
  return std::make_shared<SandboxProvider>(service, std::move(options));
}

}  // namespace csb::mcp
