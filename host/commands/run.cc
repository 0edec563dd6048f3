// SPDX-License-Identifier: Apache-2.0
//
// run: a file of Python, a piece of it, or a command, in the caller's own sandbox.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "host/commands/ask.h"
#include "host/commands/commands.h"
#include "host/commands/run_session.h"
#include "host/config/suggest.h"
#include "host/plugin/instance.h"

namespace csb::host {
namespace {

constexpr size_t kMaxCode = 8 << 20;  // as the service takes it (docs/operations.md)

Error Bad(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, "run: " + std::move(message), std::move(hint), false};
}

// What is to be run: code with arguments, or a command.
struct Job {
  uint32_t op = CSB_OP_EXECUTE;
  std::string code;
  std::vector<std::string> words;  // arguments of the code, or the command
  bool stdin_is_code = false;
};

Result<std::string> ReadCode(const std::string& path) {
  const bool standard = path == "-";
  const int fd = standard ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  const auto fail = [&](const std::string& why) { return Bad(Quoted(path) + ": " + why); };
  if (fd < 0) return fail(std::strerror(errno));
  std::string code;
  std::array<char, 64 << 10> buffer;
  ssize_t n = 0;
  while ((n = read(fd, buffer.data(), buffer.size())) > 0 || (n < 0 && errno == EINTR)) {
    if (n > 0) code.append(buffer.data(), static_cast<size_t>(n));
    if (code.size() > kMaxCode) break;
  }
  const int error = n < 0 ? errno : 0;
  close(fd);
  if (error != 0) return fail(std::strerror(error));
  if (code.size() > kMaxCode) return fail("is larger than 8 MiB");
  if (!utf8::Valid(code)) return fail("is not UTF-8 text");
  return code;
}

Result<Job> FindJob(const Arguments& arguments) {
  Job job;
  job.words = arguments.rest;
  if (arguments.Has("code")) {
    job.code = arguments.Text("code");
    if (job.code.size() > kMaxCode) return Bad("--code: is larger than 8 MiB");
    if (!utf8::Valid(job.code)) return Bad("--code: is not UTF-8 text");
  } else if (arguments.separator) {
    if (job.words.empty()) return Bad("a command is expected after --");
    job.op = CSB_OP_EXEC;
  } else {
    if (job.words.empty())
      return Bad("what? a FILE, -c CODE, or -- COMMAND", "`clara-sandbox run --help` tells more.");
    auto code = ReadCode(job.words[0]);
    if (!code) return code.error();
    job.code = *std::move(code);
    job.stdin_is_code = job.words[0] == "-";
    job.words.erase(job.words.begin());
  }
  for (const std::string& word : job.words)
    if (!utf8::Valid(word)) return Bad("argument " + Quoted(word) + " is not UTF-8 text");
  return job;
}

// Seconds; the default for code is that for commands as well.
Result<double> FindTimeout(const Arguments& arguments, const Config& config) {
  if (!arguments.Has("timeout")) return config.Number("sandbox.default_execution_timeout").value_or(30);
  const double most = config.Number("sandbox.max_execution_timeout").value_or(300);
  auto seconds = ParseSeconds(arguments.Text("timeout"));
  const std::string given = "--timeout " + Quoted(arguments.Text("timeout"));
  if (!seconds) return Bad(given + " " + seconds.error().message);
  if (*seconds < 0.001) return Bad(given + " is less than a millisecond");
  if (*seconds > most)
    return Bad(given + " is more than sandbox.max_execution_timeout, which is " + FormatNumber(most) + " s",
               "Raise it: --sandbox.max_execution_timeout=" + FormatNumber(*seconds));
  return *seconds;
}

std::string PayloadOf(const Job& job, double timeout) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  if (job.op == CSB_OP_EXECUTE) json::Member(w, "code", job.code);
  if (job.op == CSB_OP_EXEC || !job.words.empty()) {
    json::Key(w, job.op == CSB_OP_EXEC ? "argv" : "args");
    w.StartArray();
    for (const std::string& word : job.words) json::String(w, word);
    w.EndArray();
  }
  json::Member(w, "timeout", timeout);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

int Run(const Arguments& arguments) {
  SignalWaiter signals;
  auto job = FindJob(arguments);
  if (!job) return Fail(job.error());
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "warn";
  if (arguments.Has("backend")) options.keys.emplace_back("sandbox.mode", arguments.Text("backend"));
  if (arguments.Has("user")) options.keys.emplace_back("run.user", arguments.Text("user"));
  auto created = App::Create(options);
  if (!created) return Fail(created.error());
  App& app = **created;
  const std::string user = app.config().Text("run.user");
  if (auto status = CheckUserId(user); !status)
    return Fail(Bad(app.config().Where("run.user") + ": run.user: " + status.error().message));
  auto timeout = FindTimeout(arguments, app.config());
  if (!timeout) return Fail(timeout.error());

  app.CreateBackends();
  if (app.backends().empty()) return Fail(NoBackend(app));
  if (auto status = app.StartService(); !status) return Fail(status.error());
  const csb_service_v1& service = *app.service();
  const bool stop_after = !arguments.Has("keep") && !IsLive(service, user);
  RunSession session(signals, service);
  const int exit_code =
      session.Run(job->op, user, PayloadOf(*job, *timeout), !job->stdin_is_code && HasInput());
  if (stop_after) StopUnused(service, user, session.status() == CSB_OK);
  return exit_code;
}

constexpr OptionSpec kOptions[] = {
    {"code", 'c', "CODE", "Python code to run"},
    {"backend", 0, "NAME", "use this backend only (sandbox.mode)"},
    {"user", 0, "USER", "whose sandbox to use (run.user; else your own name)"},
    {"timeout", 0, "TIME",
     "end it after this time, as 30, 1.5 or 2m (else sandbox.default_execution_timeout, 30 s)"},
    {"keep", 0, nullptr, "leave the sandbox running until it is idle for long enough"},
};

}  // namespace

const Command kRunCommand = {
    "run",
    "[OPTIONS] FILE [ARGUMENT…]\n[OPTIONS] -c CODE [--] [ARGUMENT…]\n[OPTIONS] -- COMMAND [ARGUMENT…]",
    "Run a Python file, a piece of code or a command in a sandbox",
    "FILE is read here and its code runs inside; - reads the code from stdin. Output comes as it is written, "
    "stdin\n"
    "is passed on. Options stand before FILE. Files under /workspace stay for the next run of the same user; "
    "the\n"
    "sandbox is stopped at the end, unless it was running before or --keep is given.\n\n"
    "Ends with the exit code of what was run: 128 + N after signal N, 124 after the timeout, 137 when out of "
    "memory.\n"
    "Ctrl-C ends it, a second one at once. 1: it could not be run; 2: the command line or the configuration "
    "is wrong.",
    kOptions,
    true,
    Run};

}  // namespace csb::host
