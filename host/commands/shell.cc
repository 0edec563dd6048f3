// SPDX-License-Identifier: Apache-2.0
//
// shell: an interactive shell in a user's sandbox, in the caller's own terminal; without one a pipe.
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "host/commands/ask.h"
#include "host/commands/commands.h"
#include "host/commands/run_session.h"
#include "host/config/suggest.h"

namespace csb::host {
namespace {

constexpr const char* kShell = "if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi";
constexpr auto kCallTime = std::chrono::seconds(60);

Error Bad(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, "shell: " + std::move(message), std::move(hint), false};
}

// Hands every key on as it is, for as long as the object lives.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    cfmakeraw(&raw);
    set_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (set_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool set_ = false;
};

winsize Size() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  return size;
}

void WriteSize(json::Writer& w) {
  const winsize size = Size();
  json::Member(w, "rows", static_cast<int>(size.ws_row));
  json::Member(w, "cols", static_cast<int>(size.ws_col));
}

std::string StartPayload(const std::string& command) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "command", command);
  json::Key(w, "terminal");
  w.StartObject();
  WriteSize(w);
  // A type that the sandbox may not know is one it takes for a plain terminal.
  const char* term = std::getenv("TERM");
  const std::string type = term == nullptr ? "" : term;
  if (!type.empty() && type.size() <= 64 &&
      type.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+._") ==
          std::string::npos)
    json::Member(w, "term", type);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string HandlePayload(const std::string& handle, const char* more = nullptr, bool size = false) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "handle", handle);
  if (size) WriteSize(w);
  if (more != nullptr) json::Member(w, more, 0);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

int InTerminal(SignalWaiter& signals, const csb_service_v1& service, const std::string& user,
               const std::string& command) {
  auto started = Ask(service, CSB_OP_PROCESS_START, user, StartPayload(command), kCallTime);
  if (!started) return Fail(started.error());
  const auto info = json::ParseObject(*started);
  const std::string handle(info ? json::GetString(*info, "handle").value_or("") : "");
  if (handle.empty()) return Fail({CSB_E_INTERNAL, "the backend started no process", "", false});
  int exit_code;
  {
    RunSession session(signals, service);
    session.on_signal = [&](int signal) {
      if (signal != SIGWINCH) return false;
      // One that has just ended has no size.
      (void)Ask(service, CSB_OP_PROCESS_RESIZE, user, HandlePayload(handle, nullptr, true),
                std::chrono::seconds(5));
      return true;
    };
    const RawTerminal raw;
    exit_code = session.Run(CSB_OP_PROCESS_ATTACH, user, HandlePayload(handle, "offset"), true);
  }
  auto removed = Ask(service, CSB_OP_PROCESS_REMOVE, user, HandlePayload(handle), kCallTime);
  if (!removed && removed.error().code != CSB_E_NOT_FOUND) return Fail(removed.error());
  return exit_code;
}

int Piped(SignalWaiter& signals, const csb_service_v1& service, const Config& config, const std::string& user,
          const std::string& command) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "command", command);
  json::Member(w, "timeout", config.Number("sandbox.max_execution_timeout").value_or(300));
  w.EndObject();
  RunSession session(signals, service);
  return session.Run(CSB_OP_SHELL, user, {buffer.GetString(), buffer.GetSize()}, HasInput());
}

int Shell(const Arguments& arguments) {
  SignalWaiter signals(true);
  if (arguments.rest.size() > 1)
    return Fail(Bad("one USER is expected, not " + std::to_string(arguments.rest.size()),
                    "a command comes as --command"));
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "warn";
  if (arguments.Has("backend")) options.keys.emplace_back("sandbox.mode", arguments.Text("backend"));
  if (!arguments.rest.empty()) options.keys.emplace_back("run.user", arguments.rest[0]);
  auto created = App::Create(options);
  if (!created) return Fail(created.error());
  App& app = **created;
  const std::string user = app.config().Text("run.user");
  if (auto status = CheckUserId(user); !status) return Fail(Bad("USER: " + status.error().message));
  const bool given = arguments.Has("command");
  const std::string command = given ? arguments.Text("command") : kShell;
  if (!utf8::Valid(command)) return Fail(Bad("--command: is not UTF-8 text"));
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;

  app.CreateBackends();
  if (app.backends().empty()) return Fail(NoBackend(app));
  if (auto status = app.StartService(); !status) return Fail(status.error());
  const csb_service_v1& service = *app.service();
  const bool stop_after = !arguments.Has("keep") && !IsLive(service, user);
  const int exit_code = terminal
                            ? InTerminal(signals, service, user, command)
                            : Piped(signals, service, app.config(), user, given ? command : "exec sh -s");
  if (stop_after) StopUnused(service, user, true);
  return exit_code;
}

constexpr OptionSpec kOptions[] = {
    {"command", 0, "COMMAND", "what to run in it (a login shell)"},
    {"backend", 0, "NAME", "use this backend only (sandbox.mode)"},
    {"keep", 0, nullptr, "leave the sandbox running until it is idle for long enough"},
};

}  // namespace

const Command kShellCommand = {
    "shell",
    "[OPTIONS] [USER]",
    "Open a shell in a user's sandbox",
    "In a terminal it is one: sizes, colours and Ctrl-C reach what runs inside. Without one stdin is read as "
    "a\n"
    "script, or goes to --command, and the limit of a request's time holds (sandbox.max_execution_timeout).\n"
    "USER is your own name unless given (run.user). The sandbox is stopped at the end, unless it was "
    "running\n"
    "before or --keep is given.\n\n"
    "Ends with the exit code of what was run.",
    kOptions,
    true,
    Shell};

}  // namespace csb::host
