// SPDX-License-Identifier: Apache-2.0
//
// The server's operations on what runs in the background (docs/operations.md, "Processes"), and the runs that
// may become such: those with `keep` or `yield_after`.
#include <signal.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "agent/background/context_run.h"
#include "agent/background/program.h"
#include "agent/channel/outcome.h"
#include "agent/channel/server.h"

namespace csb::agent {

using protocol::Kind;

namespace {

constexpr int64_t kDefaultLimit = 30'000;
constexpr int64_t kMaxLimit = 8 << 20;
constexpr double kDefaultWait = 30;
constexpr double kMaxSeconds = 366 * 86400.0;

Error Invalid(std::string_view field, std::string_view why) {
  return {CSB_E_INVALID, std::string(field) + ": " + std::string(why), "", false};
}

// Seconds in nanoseconds; `otherwise` where the member is not there.
Result<int64_t> Seconds(const json::Value& args, const char* field, double otherwise) {
  const json::Value* value = json::Find(args, field);
  const double seconds = value == nullptr ? otherwise : value->IsNumber() ? value->GetDouble() : -1;
  if (!(seconds >= 0 && seconds <= kMaxSeconds)) return Invalid(field, "must be a number of seconds");
  return static_cast<int64_t>(seconds * static_cast<double>(kSecond));
}

Result<int> SignalOf(const json::Value& args) {
  const json::Value* value = json::Find(args, "signal");
  if (value != nullptr && value->IsInt() && value->GetInt() >= 1 && value->GetInt() <= 64)
    return value->GetInt();
  if (value == nullptr || !value->IsString())
    return Invalid("signal", "must be a name like INT, or a number");
  std::string_view name(value->GetString(), value->GetStringLength());
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (int number = 1; number < 32; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return Invalid("signal", "there is none called " + std::string(name.substr(0, 16)));
}

Status ReadTerminal(const json::Value& terminal, ProgramStart& start) {
  if (!terminal.IsObject()) return Invalid("terminal", R"(must be an object like {"rows":24,"cols":80})");
  start.terminal = true;
  for (auto [name, target] : {std::pair{"rows", &start.rows}, std::pair{"cols", &start.cols}}) {
    if (json::Find(terminal, name) == nullptr) continue;
    const auto number = json::GetInt(terminal, name);
    if (!number || *number < 1 || *number > 10'000)
      return Invalid(std::string("terminal.") + name, "must be between 1 and 10000");
    *target = static_cast<int>(*number);
  }
  return {};
}

// What people read in a list: the command, the code, or the arguments.
std::string Shown(std::string_view op, const json::Value& args) {
  if (op == "execute") return std::string(json::GetString(args, "code").value_or("").substr(0, 1000));
  if (op == "shell") return std::string(json::GetString(args, "command").value_or("").substr(0, 1000));
  std::string text;
  const json::Value* argv = json::Find(args, "argv");
  if (argv != nullptr && argv->IsArray())
    for (const auto& word : argv->GetArray())
      if (word.IsString() && text.size() < 1000) {
        if (!text.empty()) text += ' ';
        text.append(word.GetString(), std::min<size_t>(word.GetStringLength(), 1000));
      }
  return text;
}

void Bounds(const json::Value& args, FollowPlan& plan) {
  const json::Value* output = json::Find(args, "output");
  if (output == nullptr || !output->IsObject()) return;
  const auto bound = [&](const char* name) {
    return static_cast<uint64_t>(std::clamp<int64_t>(json::GetInt(*output, name).value_or(0), 0, 16 << 20));
  };
  plan.head = bound("head");
  plan.tail = bound("tail");
}

uint64_t Offset(const OutputLog& log, int64_t asked) {
  if (asked >= 0) return std::min(static_cast<uint64_t>(asked), log.end());
  const auto back = static_cast<uint64_t>(-std::max(asked, -INT64_MAX));
  return log.end() - std::min(back, log.end());
}

}  // namespace

bool Server::OpenBackground(Channel& channel, const Opening& opening, std::string_view op,
                            const json::Value& args) {
  const bool run = op == "execute" || op == "shell" || op == "exec";
  if (run && (json::GetBool(args, "keep").value_or(false) || json::Find(args, "yield_after") != nullptr)) {
    StartKept(channel, opening, op, args);
  } else if (op == "process_start") {
    StartProcess(channel, opening, args);
  } else if (op == "process_list") {
    channel.Send(Kind::kDone, 0, opening.id, R"({"code":0,"result":)" + background_.List() + "}");
  } else if (op.starts_with("process_")) {
    OnProcess(channel, opening, op, args);
  } else {
    return false;
  }
  return true;
}

Result<std::string> Server::NewHandle() const {
  if (background_.full())
    return Error{CSB_E_NO_CAPACITY,
                 "too many programs run in the background of this sandbox (" +
                     std::to_string(BackgroundTable::kMaxRunning) + ")",
                 "end some that are not needed any more", true};
  std::string handle = BackgroundTable::NewHandle();
  if (handle.empty()) return Error{CSB_E_INTERNAL, "the kernel gives no random numbers", "", true};
  return handle;
}

Result<Background*> Server::NewProgram(std::string_view kind, std::string_view op, const json::Value& args,
                                       const ProgramStart& start) {
  auto handle = NewHandle();
  if (!handle) return handle.error();
  auto command = PrepareCommand(op, args, options_.commands);
  if (!command) return command.error();
  if (start.terminal) {
    auto& env = command->spec.env;
    const json::Value* terminal = json::Find(args, "terminal");
    const auto type = json::GetString(*terminal, "term").value_or("xterm-256color");
    std::erase_if(env, [](const std::string& one) { return one.starts_with("TERM="); });
    env.push_back("TERM=" + std::string(type));
  }
  auto program = std::make_unique<Program>(
      loop_, pool_, options_.identity, oom_,
      Background::Identification{*std::move(handle), std::string(kind), Shown(op, args)},
      *std::move(command));
  if (auto started = program->Start(start); !started) return started.error();
  return &background_.Add(std::move(program));
}

void Server::StartProcess(Channel& channel, const Opening& opening, const json::Value& args) {
  const bool shell = json::Find(args, "command") != nullptr;
  ProgramStart start;
  start.input = json::GetBool(args, "input").value_or(true);
  const auto timeout = Seconds(args, "timeout", 0);
  if (!timeout) return Refuse(channel, opening.id, timeout.error());
  start.timeout_ms = static_cast<uint64_t>(*timeout / kMs);
  if (*timeout > 0 && start.timeout_ms == 0) start.timeout_ms = 1;
  if (const json::Value* terminal = json::Find(args, "terminal"))
    if (auto read = ReadTerminal(*terminal, start); !read) return Refuse(channel, opening.id, read.error());
  auto program = NewProgram("process", shell ? "shell" : "exec", args, start);
  if (!program) return Refuse(channel, opening.id, program.error());
  channel.Send(Kind::kDone, 0, opening.id, R"({"code":0,"result":)" + (*program)->Info() + "}");
}

void Server::StartKept(Channel& channel, const Opening& opening, std::string_view op,
                       const json::Value& args) {
  FollowPlan plan{.kind = FollowPlan::Kind::kRun, .credit = opening.credit, .input = opening.input};
  Bounds(args, plan);
  if (json::Find(args, "yield_after") != nullptr) {
    const auto yield = Seconds(args, "yield_after", 0);
    if (!yield || *yield == 0)
      return Refuse(channel, opening.id, Invalid("yield_after", "must be a number of seconds over 0"));
    plan.patience_ns = *yield;
  }
  const bool context = op == "execute" && (json::Find(args, "context") != nullptr ||
                                           json::GetBool(args, "results").value_or(false));
  if (!context) {
    auto program = NewProgram(op, op, args, {.timeout_ms = opening.timeout_ms, .input = opening.input});
    if (!program) return Refuse(channel, opening.id, program.error());
    return Follow(channel, opening, **program, std::move(plan));
  }
  if (opening.input)
    return Refuse(channel, opening.id,
                  Invalid("stdin", "code in a context that is kept, or may be given up, has none"));
  auto request = ReadContextRequest(args, options_.commands.workspace);
  if (!request) return Refuse(channel, opening.id, request.error());
  request->timeout_ms = opening.timeout_ms;
  auto handle = NewHandle();
  if (!handle) return Refuse(channel, opening.id, handle.error());
  auto run = std::make_unique<ContextRun>(
      loop_, contexts_, oom_,
      Background::Identification{*std::move(handle), std::string(op), Shown(op, args)}, *std::move(request));
  if (auto started = run->Start(); !started) return Refuse(channel, opening.id, started.error());
  Follow(channel, opening, background_.Add(std::move(run)), std::move(plan));
}

void Server::OnProcess(Channel& channel, const Opening& opening, std::string_view op,
                       const json::Value& args) {
  const auto refuse = [&](const Error& error) { Refuse(channel, opening.id, error); };
  const auto answer = [&](const std::string& result) {
    channel.Send(Kind::kDone, 0, opening.id, R"({"code":0,"result":)" + result + "}");
  };
  const auto handle = json::GetString(args, "handle");
  if (!handle) return refuse(Invalid("handle", "must be a string"));
  Background* run = background_.Find(*handle);
  if (run == nullptr)
    return refuse({CSB_E_NOT_FOUND,
                   "no process " + std::string(handle->substr(0, 64)) +
                       " (it ended long ago, or the sandbox was restarted)",
                   "list the processes to see which there are", false});
  FollowPlan plan{.credit = opening.credit, .input = opening.input, .timeout_ms = opening.timeout_ms};
  const int64_t offset = json::GetInt(args, "offset").value_or(op == "process_attach" ? INT64_MAX : 0);
  plan.offset = Offset(run->log(), offset);
  if (op == "process_output") {
    plan.kind = FollowPlan::Kind::kOutput;
    plan.limit = static_cast<uint64_t>(
        std::clamp<int64_t>(json::GetInt(args, "limit").value_or(kDefaultLimit), 1, kMaxLimit));
    const auto wait = Seconds(args, "wait", 0);
    if (!wait) return refuse(wait.error());
    plan.patience_ns = *wait;
  } else if (op == "process_wait") {
    plan.kind = FollowPlan::Kind::kWait;
    const auto wait = Seconds(args, "timeout", kDefaultWait);
    if (!wait) return refuse(wait.error());
    plan.patience_ns = *wait;
  } else if (op == "process_attach") {
    plan.kind = FollowPlan::Kind::kAttach;
  } else if (op == "process_input") {
    plan.kind = FollowPlan::Kind::kInput;
    plan.eof = json::GetBool(args, "eof").value_or(false);
    if (!run->input_open())
      return refuse({CSB_E_CONFLICT,
                     run->handle() + (run->ended() ? " has ended" : " has no input, or it is closed"),
                     "start it anew, with input", false});
    if (!opening.input) return refuse(Invalid("input", "is missing"));
  } else if (op == "process_signal") {
    const auto number = SignalOf(args);
    if (!number) return refuse(number.error());
    // A kill is one of everything that it started.
    if (*number == SIGKILL)
      run->Kill(Background::Cause::kCancelled);
    else
      run->Signal(*number);
    return answer(run->Info());
  } else if (op == "process_resize") {
    const auto rows = json::GetInt(args, "rows"), cols = json::GetInt(args, "cols");
    if (!rows || *rows < 1 || *rows > 10'000 || !cols || *cols < 1 || *cols > 10'000)
      return refuse(Invalid("rows", "and cols must be between 1 and 10000"));
    if (!run->Resize(static_cast<int>(*rows), static_cast<int>(*cols)))
      return refuse({CSB_E_CONFLICT, run->handle() + " has no terminal, or has ended",
                     "start it with a terminal", false});
    return answer("{}");
  } else if (op == "process_remove") {
    background_.Remove(*run);
    return answer(R"({"status":"deleted"})");
  } else {
    return refuse({CSB_E_UNSUPPORTED,
                   "the agent does not know the operation '" + std::string(op.substr(0, 64)) + "'",
                   "agent and host may be of different versions", false});
  }
  Follow(channel, opening, *run, std::move(plan));
}

void Server::Follow(Channel& channel, const Opening& opening, Background& run, FollowPlan plan) {
  auto stream = std::make_unique<BackgroundStream>(
      loop_, background_, run, channel, opening.id, std::move(plan), [this](BackgroundStream& finished) {
        loop_.Defer([this, gone = &finished] {
          std::erase_if(background_streams_, [&](const auto& one) { return one.get() == gone; });
          background_.Tidy();
          if (stopping_) ContinueShutdown();
        });
      });
  BackgroundStream& added = *stream;
  channel.Add(opening.id, added);
  background_streams_.push_back(std::move(stream));
  added.Start();
}

}  // namespace csb::agent
