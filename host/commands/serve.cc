// SPDX-License-Identifier: Apache-2.0
//
// serve and stdio: everything is put together, then the main thread waits for a signal, or for a frontend to
// say that it came to its end.
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "clara_sandbox/host.h"
#include "host/commands/commands.h"
#include "host/commands/listening.h"
#include "host/commands/signals.h"

namespace csb::host {
namespace {

using std::chrono::milliseconds;

// Ends the process, when a second signal comes, without waiting for what still runs. Sandboxes live on and
// are adopted by the next start, as after a crash.
class Impatience {
 public:
  Impatience(SignalWaiter& signals, App& app) : signals_(signals), app_(app), thread_([this] { Watch(); }) {}
  ~Impatience() {
    over_ = true;
    signals_.Wake();
    thread_.join();
  }

 private:
  void Watch() {
    while (!over_) {
      const int signal = signals_.Wait();
      if (signal == 0 || signal == SIGHUP) continue;
      app_.Log(CSB_LOG_WARN, "host", "a second signal came: leaving without waiting");
      std::_Exit(128 + signal);
    }
  }

  SignalWaiter& signals_;
  App& app_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Until a signal asks for the end, or a frontend does. on_hangup: what SIGHUP means here; nullptr: the end.
int WaitForEnd(SignalWaiter& signals, App& app, void (App::*on_hangup)()) {
  while (true) {
    const int signal = signals.Wait();
    if (signal == SIGHUP && on_hangup != nullptr) {
      app.Log(CSB_LOG_INFO, "host", "SIGHUP: reading keys and certificates again");
      (app.*on_hangup)();
    } else if (signal != 0) {
      return signal;
    } else if (signals.finished()) {
      return 0;
    }
  }
}

// grace: seconds for what runs when a signal asks for the end.
int RunFrontends(App& app, SignalWaiter& signals, const std::vector<std::string>& frontends, double grace,
                 void (App::*on_hangup)()) {
  if (auto status = app.StartService(ListensPublicly(app.config(), app.schema(), frontends)); !status)
    return Fail(status.error());
  if (app.backends().empty())
    app.Log(CSB_LOG_ERROR, "host",
            "no backend could be started; requests are refused. `clara-sandbox doctor` tells more");
  auto status = app.StartFrontends(frontends, [&signals](int code) { signals.Finish(code); });
  if (!status) return Fail(status.error());
  const int signal = WaitForEnd(signals, app, on_hangup);
  // Who asked itself for the end has nothing left to wait for.
  if (signal == 0) grace = 0;
  app.Log(CSB_LOG_INFO, "host", signal == 0 ? "ending" : "ending after a signal; a second one ends at once");
  Impatience impatience(signals, app);
  app.Shutdown(milliseconds(std::llround(grace * 1000)));
  return signals.finished().value_or(kExitOk);
}

int Serve(const Arguments& arguments) {
  SignalWaiter signals;  // before any thread
  auto app = App::Create(OptionsOf(arguments));
  if (!app) return Fail(app.error());
  const std::vector<std::string> frontends = (*app)->config().List("sandbox.frontends");
  if (frontends.empty())
    return Fail({CSB_E_INVALID,
                 (*app)->config().Where("sandbox.frontends") + ": sandbox.frontends names no frontend",
                 "Write sandbox.frontends = http", false});
  const double grace = (*app)->config().Number("sandbox.shutdown_grace").value_or(10);
  return RunFrontends(**app, signals, frontends, grace, &App::Reload);
}

int Stdio(const Arguments& arguments) {
  SignalWaiter signals;
  AppOptions options = OptionsOf(arguments);
  if (arguments.Has("user")) options.keys.emplace_back("stdio.user", arguments.Text("user"));
  if (arguments.Has("only")) options.keys.emplace_back("stdio.only", "true");
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  // Without grace: a client that signals has closed standard input before, and waited (MCP: shutdown of
  // stdio).
  return RunFrontends(**app, signals, {"stdio"}, 0, nullptr);
}

constexpr OptionSpec kStdioOptions[] = {
    {"user", 0, "USER", "whose sandbox the tools use when a call names nobody (stdio.user)"},
    {"only", 0, nullptr, "refuse calls for any other user (stdio.only)"},
};

}  // namespace

const Command kServeCommand = {"serve",
                               "[OPTIONS]",
                               "Serve the REST API",
                               "Listens on http.host and http.port until SIGTERM or SIGINT; running requests "
                               "then get sandbox.shutdown_grace\n"
                               "seconds to end, a second signal ends at once. SIGHUP reads keys and "
                               "certificates again. Without a key it\n"
                               "listens on loopback only: clara-sandbox serve --http.port=9000",
                               {},
                               false,
                               Serve};

const Command kStdioCommand = {"stdio",
                               "[--user USER [--only]] [OPTIONS]",
                               "Serve the Model Context Protocol on stdin and stdout",
                               "For an assistant's configuration: {\"command\": \"clara-sandbox\", \"args\": "
                               "[\"stdio\"]}. Ends when stdin does\n"
                               "and what was called has answered; at once on SIGTERM, or when nobody reads "
                               "stdout. The log goes to stderr.",
                               kStdioOptions,
                               false,
                               Stdio};

}  // namespace csb::host
