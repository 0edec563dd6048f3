// SPDX-License-Identifier: Apache-2.0
//
// A frontend that breaks rule 21: its callback blocks. While the pipe stuck.fifo has a writer, the service's
// thread hangs in on_done, and with it every request that the service answers itself.
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "clara_sandbox/cpp/frontend.h"
#include "clara_sandbox/cpp/plugin.h"
#include "clara_sandbox/operation.h"

namespace {

class Stuck : public csb::Frontend {
 public:
  static csb::Result<std::unique_ptr<Stuck>> Create(csb::HostRef host, csb::ServiceClient service) {
    return std::make_unique<Stuck>(host.Text("stuck.fifo"), service);
  }
  Stuck(std::string fifo, csb::ServiceClient service) : fifo_(std::move(fifo)), service_(service) {}
  ~Stuck() override {
    if (thread_.joinable()) thread_.join();
  }
  csb::Status Start(Finished) override {
    thread_ = std::thread([this] {
      const int fd = open(fifo_.c_str(), O_RDONLY | O_CLOEXEC);  // waits for a writer
      auto answer = std::make_shared<csb::FunctionHandler>();
      answer->on_done = [fd](csb::Call&, const csb::OutcomeView&) {
        char byte;
        while (read(fd, &byte, 1) > 0) {
        }
        close(fd);
      };
      csb::Request request;
      request.op = CSB_OP_HEALTH;
      request.payload = "{}";
      static_cast<void>(service_.Submit(request.view(), answer));
    });
    return {};
  }
  void Stop() override {
    const int fd = open(fifo_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);  // lets the thread go, if it waits
    if (fd >= 0) close(fd);
  }

 private:
  const std::string fifo_;
  const csb::ServiceClient service_;
  std::thread thread_;
};

constexpr csb_option kOptions[] = {
    csb::Option({.key = "stuck.fifo", .type = CSB_OPTION_PATH, .help = "A named pipe."})};
constexpr csb::PluginDescriptor kPlugin{
    .name = "stuck", .version = "1.0.0", .description = "Hangs", .options = kOptions};

}  // namespace

CSB_PLUGIN_FRONTEND(Stuck, kPlugin)
