// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/tool_run.h"

#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"

namespace csb::mcp {
namespace {

constexpr size_t kProgressText = 200;  // bytes of the last line of output in a progress message

// The last line that has something in it, short.
std::string LastLine(std::string_view output) {
  while (!output.empty() && (output.back() == '\n' || output.back() == '\r')) output.remove_suffix(1);
  const size_t start = output.find_last_of("\r\n");
  if (start != std::string_view::npos) output.remove_prefix(start + 1);
  return utf8::Clean(output.substr(0, kProgressText));
}

class ToolRun final : public CallHandler {
 public:
  ToolRun(const Tool& tool, ToolRequest request, const Revision& revision, const ToolOptions& options,
          std::shared_ptr<Pending> pending)
      : answer_(tool, std::move(request), revision, options), pending_(std::move(pending)) {}

  RequestView Request(std::string_view request_id) const { return answer_.Request(request_id); }

  void OnOutput(Call& call, uint32_t stream, std::string_view data) override {
    if (stream != CSB_STREAM_DATA && pending_->WantsProgress()) pending_->Progress(LastLine(data));
    answer_.OnOutput(call, stream, data);
  }
  void OnEvent(Call&, uint32_t event, std::string_view json) override {
    if (event == CSB_EVENT_PROGRESS && pending_->WantsProgress()) {
      auto doc = json::ParseObject(json);
      const auto message = doc ? json::GetString(*doc, "message") : std::nullopt;
      if (message) pending_->Progress(LastLine(*message));
    }
    answer_.OnEvent(event, json);
  }
  void OnInputCredit(Call& call, uint64_t bytes) override { answer_.OnInputCredit(call, bytes); }
  void OnDone(Call&, const OutcomeView& outcome) override { pending_->Result(answer_.Result(outcome)); }

 private:
  ToolAnswer answer_;
  const std::shared_ptr<Pending> pending_;
};

}  // namespace

void RunTool(const ServiceClient& service, const Tool& tool, ToolRequest request, const Revision& revision,
             const ToolOptions& options, std::string_view request_id, std::shared_ptr<Pending> pending) {
  auto run = std::make_shared<ToolRun>(tool, std::move(request), revision, options, pending);
  auto call = service.Submit(run->Request(request_id), run);
  if (!call) return pending->Result(ErrorResult(call.error()));
  // Only a cancel needs the call from here on; it holds what runs no longer than that lasts.
  pending->OnCancel([call = *std::move(call)] { call->Cancel(CSB_E_CANCELLED); });
}

}  // namespace csb::mcp
