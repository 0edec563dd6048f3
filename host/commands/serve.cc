// SPDX-License-Identifier: Apache-2.0
//
// serve and stdio: everything is put together, then the main thread waits for a signal, or for a frontend to
// say that it came to its end. A service manager hears of serve's steps.
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "clara_sandbox/host.h"
#include "host/commands/commands.h"
#include "host/commands/listening.h"
#include "host/commands/signals.h"
#include "host/commands/watchdog.h"

namespace csb::host {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPatience(30);  // for a plugin that does not let go (App::Shutdown)
constexpr seconds kMargin(10);    // for all else at the end

void Tell(App& app, const ServiceManager& manager, const std::string& lines) {
  if (Status told = manager.Notify(lines); !told) app.Log(CSB_LOG_WARN, "host", told.error().message);
}

// RELOADING=1 comes with the time, so that the manager knows which READY=1 ends it.
void Reload(App& app, const ServiceManager& manager) {
  app.Log(CSB_LOG_INFO, "host", "SIGHUP: reading keys and certificates again");
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  Tell(
      app, manager,
      "RELOADING=1\nMONOTONIC_USEC=" + std::to_string(std::chrono::duration_cast<microseconds>(now).count()));
  app.Reload();
  Tell(app, manager, "READY=1");
}

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

// What `serve` and `stdio` have apart.
struct Way {
  std::vector<std::string> frontends;
  double grace = 0;      // seconds for what runs when a signal asks for the end
  bool reloads = false;  // what SIGHUP means; else it asks for the end
  ServiceManager manager;
};

// Until a signal asks for the end, or a frontend does.
int WaitForEnd(SignalWaiter& signals, App& app, const Way& way) {
  while (true) {
    const int signal = signals.Wait();
    if (signal == SIGHUP && way.reloads) {
      Reload(app, way.manager);
    } else if (signal != 0) {
      return signal;
    } else if (signals.finished()) {
      return 0;
    }
  }
}

int RunFrontends(App& app, SignalWaiter& signals, const Way& way) {
  if (auto status = app.GiveSockets(way.manager.sockets(), way.frontends); !status)
    return Fail(status.error());
  if (auto status = app.StartService(ListensPublicly(app.config(), app.schema(), way.frontends)); !status)
    return Fail(status.error());
  if (app.backends().empty())
    app.Log(CSB_LOG_ERROR, "host",
            "no backend could be started; requests are refused. `clara-sandbox doctor` tells more");
  auto status = app.StartFrontends(way.frontends, [&signals](int code) { signals.Finish(code); });
  if (!status) return Fail(status.error());
  Tell(app, way.manager, "READY=1\nSTATUS=serving");
  Watchdog watchdog(way.manager, *app.service(), app.timers());
  const int signal = WaitForEnd(signals, app, way);
  // Who asked itself for the end has nothing left to wait for.
  const milliseconds grace(signal == 0 ? 0 : std::llround(way.grace * 1000));
  app.Log(CSB_LOG_INFO, "host", signal == 0 ? "ending" : "ending after a signal; a second one ends at once");
  Tell(app, way.manager,
       "STOPPING=1\nSTATUS=ending\nEXTEND_TIMEOUT_USEC=" +
           std::to_string(microseconds(grace + kPatience + kMargin).count()));
  Impatience impatience(signals, app);
  watchdog.Stopping();
  app.Shutdown(grace, kPatience);
  return signals.finished().value_or(kExitOk);
}

int Serve(const Arguments& arguments) {
  Way way{.reloads = true, .manager = ServiceManager::Take()};
  SignalWaiter signals;  // before any thread
  AppOptions options = OptionsOf(arguments);
  options.lean = true;
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  way.frontends = (*app)->config().List("sandbox.frontends");
  if (way.frontends.empty())
    return Fail({CSB_E_INVALID,
                 (*app)->config().Where("sandbox.frontends") + ": sandbox.frontends names no frontend",
                 "Write sandbox.frontends = http", false});
  way.grace = (*app)->config().Number("sandbox.shutdown_grace").value_or(10);
  return RunFrontends(**app, signals, way);
}

int Stdio(const Arguments& arguments) {
  SignalWaiter signals;
  AppOptions options = OptionsOf(arguments);
  if (arguments.Has("user")) options.keys.emplace_back("stdio.user", arguments.Text("user"));
  if (arguments.Has("only")) options.keys.emplace_back("stdio.only", "true");
  options.lean = true;
  options.frontends = {"stdio"};
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  // Without grace: a client that signals has closed standard input before, and waited (MCP: shutdown of
  // stdio).
  return RunFrontends(**app, signals, {.frontends = {"stdio"}});
}

constexpr OptionSpec kStdioOptions[] = {
    {"user", 0, "USER", "whose sandbox the tools use when a call names nobody (stdio.user)"},
    {"only", 0, nullptr, "refuse calls for any other user (stdio.only)"},
};

}  // namespace

const Command kServeCommand = {
    "serve",
    "[OPTIONS]",
    "Serve the REST API",
    "Listens on http.host and http.port until SIGTERM or SIGINT; running requests "
    "then get sandbox.shutdown_grace\n"
    "seconds to end, a second signal ends at once. SIGHUP reads keys and "
    "certificates again. Without a key it\n"
    "listens on loopback only: clara-sandbox serve --http.port=9000. Under systemd it is a "
    "Type=notify service\n"
    "with watchdog and socket activation.",
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
