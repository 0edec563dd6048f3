// SPDX-License-Identifier: Apache-2.0
//
// plugin.cc: a small backend in C++. Blocking code, run on a worker of the host. The host needs an
// answer to probe and to create; what is not offered is unsupported.
#include "clara_sandbox/cpp/blocking_backend.h"

namespace {

class Mini : public csb::BlockingBackend {
 public:
  explicit Mini(csb::HostRef host) : BlockingBackend(host), word_(host.Text("mini-cpp.word", "hello")) {}
  static csb::Result<std::unique_ptr<Mini>> Create(csb::HostRef host) { return std::make_unique<Mini>(host); }

  csb::Result<std::string> Run(const csb::Request& request, Context& context) override {
    switch (request.op) {
      case CSB_OP_PROBE:
        return std::string(R"({"available":true,"version":"1.0.0","isolation":"none: it runs nothing"})");
      case CSB_OP_CREATE:
        return std::string(R"({"status":"running","enforced":{}})");
      case CSB_OP_STOP:
        return std::string(R"({"status":"stopped"})");
      case CSB_OP_EXECUTE:
      case CSB_OP_SHELL:
        if (csb::Status sent = context.Output(CSB_STREAM_STDOUT, word_); !sent) return sent.error();
        return std::string(R"({"exit_code":0,"cause":"exit"})");
      default:
        return csb::Unsupported(request.op);
    }
  }

 private:
  const std::string word_;
};

constexpr csb_option kOptions[] = {
    csb::Option({.key = "mini-cpp.word", .default_value = "hello", .help = "What it says."}),
};
constexpr csb::PluginDescriptor kPlugin{
    .name = "mini-cpp", .version = "1.0.0", .description = "Says a word, in C++", .options = kOptions};

}  // namespace

CSB_PLUGIN_BACKEND(Mini, kPlugin)
