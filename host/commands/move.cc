// SPDX-License-Identifier: Apache-2.0
//
// move: a user with all files from one backend to another.
#include <cinttypes>
#include <thread>

#include "clara_sandbox/cpp/identity.h"
#include "host/base/timers.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/commands/signals.h"
#include "host/config/suggest.h"
#include "host/log/logger.h"
#include "host/move/mover.h"
#include "host/plugin/instance.h"

namespace csb::host {
namespace {

Error Bad(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, "move: " + std::move(message), std::move(hint), false};
}

// As a shell takes it.
std::string Word(const std::string& text) {
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@:/") ==
          text.npos &&
      !text.empty() && text[0] != '-')
    return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// USER may stand before the options, as everybody writes it.
Result<std::pair<std::string, Arguments>> TakeUser(const Arguments& given, const Command& command) {
  if (given.rest.empty()) return Bad("whom? clara-sandbox move USER --to BACKEND");
  auto after = ParseArguments({given.rest.begin() + 1, given.rest.end()}, AllOptions(command));
  if (!after) return Bad(after.error().message, after.error().hint);
  if (!after->rest.empty()) return Bad("unexpected argument " + Quoted(after->rest[0]));
  Arguments all = given;
  all.keys.insert(all.keys.end(), after->keys.begin(), after->keys.end());
  for (auto& [name, value] : after->options) all.options[name] = value;
  if (auto s = CheckUserId(given.rest[0]); !s) return Bad("USER: " + s.error().message);
  return std::pair(given.rest[0], std::move(all));
}

enum class Action : uint8_t { kMove, kConfirm, kUndo, kForget };

Result<Action> FindAction(const Arguments& arguments) {
  const bool to = arguments.Has("to");
  const int said = (to ? 1 : 0) + (arguments.Has("confirm") ? 1 : 0) + (arguments.Has("undo") ? 1 : 0) +
                   (arguments.Has("forget") ? 1 : 0);
  if (said != 1) return Bad("one of --to BACKEND, --confirm, --undo and --forget is expected");
  if (!to)
    for (const char* option : {"without-files", "overwrite"})
      if (arguments.Has(option)) return Bad(std::string("--") + option + " goes with --to");
  if (to && arguments.Text("to").empty()) return Bad("--to: a backend's name is expected");
  return to                         ? Action::kMove
         : arguments.Has("confirm") ? Action::kConfirm
         : arguments.Has("undo")    ? Action::kUndo
                                    : Action::kForget;
}

void PrintMoved(const Moved& moved, Action action, const std::string& user, bool empty) {
  const std::string own = "clara-sandbox move " + Word(user);
  if (action == Action::kUndo) {
    std::printf(
        "The user is served on %s again, with the files that were left there; those on %s are the old "
        "copy now.\n",
        moved.to.c_str(), moved.from.c_str());
  } else if (empty) {
    std::printf(
        "The user is served on %s from now on, with an EMPTY workspace. No file was carried over: they "
        "stay on %s, if that comes back (`%s --undo`).\n",
        moved.to.c_str(), moved.from.c_str(), own.c_str());
  } else {
    std::printf("Moved from %s to %s: %" PRIu64 " files (%" PRIu64 " bytes), %" PRIu64
                " entries in all, each file compared by SHA-256.\n",
                moved.from.c_str(), moved.to.c_str(), moved.files, moved.bytes, moved.entries);
    if (moved.skipped > 0)
      std::printf("Left out: %" PRIu64 " sockets or devices, which hold no files.\n", moved.skipped);
  }
  std::printf(
      "The old copy on %s is kept and never served. Once all is well:\n  %s --confirm   # removes it\n",
      moved.from.c_str(), own.c_str());
  for (const std::string& note : moved.notes)
    std::fprintf(stderr, "clara-sandbox: %s\n", OneLine(note).c_str());
}

// Any mode, and the backend that has the files even if it is not enabled any more.
Status MakeBackends(App& app, const std::string& home) {
  app.CreateBackends();
  for (const auto& backend : app.backends())
    if (backend->name() == home) return {};
  return home.empty() ? Status() : app.CreateBackend(home);
}

int Work(Action action, const std::string& user, const Arguments& arguments, Mover& mover) {
  switch (action) {
    case Action::kMove:
    case Action::kUndo: {
      auto moved = action == Action::kMove ? mover.Move(user, arguments.Text("to")) : mover.Undo(user);
      if (!moved) return Fail(moved.error());
      PrintMoved(*moved, action, user, arguments.Has("without-files"));
      break;
    }
    case Action::kConfirm: {
      auto purged = mover.Confirm(user);
      if (!purged) return Fail(purged.error());
      std::printf("The old copy on %s is gone.\n", purged->c_str());
      break;
    }
    case Action::kForget: {
      auto forgotten = mover.Forget(user);
      if (!forgotten) return Fail(forgotten.error());
      std::printf("What is left on %s is nobody's note any more; it stays there.\n", forgotten->c_str());
      break;
    }
  }
  return FinishOutput() ? kExitOk : kExitFailure;
}

int RunMove(const Arguments& given) {
  SignalWaiter signals;
  auto taken = TakeUser(given, kMoveCommand);
  if (!taken) return Fail(taken.error());
  const auto& user = taken->first;  // not as bindings: Clang captures those only since 16
  const auto& arguments = taken->second;
  auto action = FindAction(arguments);
  if (!action) return Fail(action.error());

  AppOptions options = OptionsOf(arguments);
  options.silent = true;
  auto configured = App::Create(options);  // as hosts have it
  if (!configured) return Fail(configured.error());
  const std::string mode = (*configured)->config().Text("sandbox.mode");
  // What this mode means to the plugin, when the mode is another one.
  if (mode == "incus-vm" && (*configured)->FindPlugin(CSB_KIND_BACKEND, "incus") != nullptr)
    options.keys.emplace_back("incus.type", "vm");
  configured->reset();
  options.silent = false;
  options.quiet_level = "warn";
  options.keys.emplace_back("sandbox.mode", "auto");
  auto created = App::Create(options);
  if (!created) return Fail(created.error());
  App& app = **created;

  RecordStore records(app.config().Text("sandbox.state_dir"),
                      [&](std::string line) { app.Log(CSB_LOG_WARN, "move", line); });
  const auto record = records.Load(user);
  for (const std::string& home :
       {record ? record->backend : std::string(), record ? record->moved_from : std::string()})
    if (auto s = MakeBackends(app, home); !s) app.Log(CSB_LOG_WARN, "move", s.error().message);
  std::vector<BackendInstance*> backends;
  for (const auto& backend : app.backends()) backends.push_back(backend.get());
  MoveOptions how;
  how.stop = arguments.Has("stop");
  how.overwrite = arguments.Has("overwrite");
  how.without_files = arguments.Has("without-files");
  how.required = app.config().List("sandbox.require");
  how.create_limit = std::chrono::milliseconds(
      static_cast<int64_t>(app.config().Number("sandbox.create_timeout").value_or(60) * 1000));
  const bool talk = !arguments.Has("quiet");
  int exit_code = kExitFailure;
  {
    Mover mover(records, std::move(backends), app.timers(), std::move(how), [talk](const std::string& line) {
      if (talk) std::fprintf(stderr, "%s\n", OneLine(line).c_str());
    });
    std::thread worker([&] {
      exit_code = Work(*action, user, arguments, mover);
      signals.Finish(exit_code);
    });
    for (bool told = false; !signals.finished();) {
      const int signal = signals.Wait();
      if (signal == 0) continue;
      if (told) std::_Exit(128 + signal);
      told = true;
      std::fputs("clara-sandbox: stopping; the user stays where the files are. Once more ends it at once\n",
                 stderr);
      mover.Stop();
    }
    worker.join();
  }
  const std::string to = arguments.Text("to");
  const std::string only = mode == "incus-vm" ? "incus" : mode;
  if (exit_code == kExitOk && !to.empty() && mode != "auto" && only != to)
    std::fprintf(
        stderr,
        "clara-sandbox: sandbox.mode is %s: a host with it does not serve users of %s; set it to auto, or "
        "to %s\n",
        mode.c_str(), to.c_str(), to.c_str());
  return exit_code;
}

constexpr OptionSpec kOptions[] = {
    {"to", 0, "BACKEND", "carry the user's files to this backend"},
    {"stop", 0, nullptr, "end the user's sandbox, and what runs in it, if it is running"},
    {"overwrite", 0, nullptr, "purge what the backend has of this user already"},
    {"without-files", 0, nullptr,
     "the backend with the files is gone: give the user an EMPTY workspace on the other one"},
    {"confirm", 0, nullptr, "purge the old copy that a move has left"},
    {"undo", 0, nullptr, "serve the old copy again; what was done since is the old copy then"},
    {"forget", 0, nullptr, "leave old copies where they are for good: their backend does not come back"},
    {"quiet", 0, nullptr, "do not say what is being done"},
};

}  // namespace

const Command kMoveCommand = {
    "move",
    "USER --to BACKEND [--stop] [--overwrite] [--without-files]\nUSER --confirm\nUSER --undo [--stop]\nUSER "
    "--forget",
    "Move a user with all files to another backend",
    "Works while hosts are serving: they answer this user with 503 until it is done, and look at the other "
    "backend\n"
    "then. Everything under /workspace is carried over and compared by SHA-256: permissions, times, links, "
    "holes "
    "and\n"
    "FIFOs too. The user is moved once all of it is there; whatever fails before leaves the user where the "
    "files "
    "are,\n"
    "and nothing on the other backend. The old copy is kept, and never served, until --confirm.\n\n"
    "1: it did not work, and nothing has changed; 2: the command line or the configuration is wrong.",
    kOptions,
    true,
    RunMove};

}  // namespace csb::host
