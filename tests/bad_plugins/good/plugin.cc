// SPDX-License-Identifier: Apache-2.0
//
// The backend that must go on working whatever its neighbours do: answers with what it was asked.
#include "clara_sandbox/cpp/backend.h"

namespace {

class Good : public csb::Backend {
 public:
  static csb::Result<std::unique_ptr<Good>> Create(csb::HostRef) { return std::make_unique<Good>(); }
  csb::Result<std::shared_ptr<csb::Operation>> Submit(const csb::RequestView& request,
                                                      csb::EventSink sink) override {
    sink.Output(CSB_STREAM_STDOUT, request.payload);
    sink.Done(R"({"good":true})");
    return std::shared_ptr<csb::Operation>();
  }
};

constexpr csb::PluginDescriptor kPlugin{.name = "good", .version = "1.0.0", .description = "Answers"};

}  // namespace

CSB_PLUGIN_BACKEND(Good, kPlugin)
