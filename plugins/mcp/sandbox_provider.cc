// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/sandbox_provider.h"

#include <atomic>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "plugins/mcp/jsonrpc.h"
#include "plugins/mcp/resources.h"
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

class SandboxProvider final : public Provider {
 public:
  SandboxProvider(ServiceClient service, ToolOptions options)
      : service_(service),
        options_(std::move(options)),
        info_{"clara-sandbox", "Clara sandbox", CSB_VERSION, kInstructions} {}

  const ServerInfo& info() const override { return info_; }

  // No resources.subscribe: a backend does not tell when a file changes, and asking again and again would
  // keep a sandbox busy that nobody uses.
  void WriteCapabilities(json::Writer& w, const Revision&) const override {
    json::Key(w, "tools");
    w.StartObject();
    json::Member(w, "listChanged", false);
    w.EndObject();
    json::Key(w, "resources");
    w.StartObject();
    json::Member(w, "subscribe", false);
    json::Member(w, "listChanged", false);
    w.EndObject();
  }

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
    RunTool(service_, *tool, *std::move(made), request.revision, options, NextId(), std::move(pending));
  }

  const ServiceClient service_;
  const ToolOptions options_;
  const ServerInfo info_;
  std::atomic<uint64_t> calls_made_{0};
};

}  // namespace

std::shared_ptr<Provider> MakeSandboxProvider(ServiceClient service, ToolOptions options) {
  return std::make_shared<SandboxProvider>(service, std::move(options));
}

}  // namespace csb::mcp
