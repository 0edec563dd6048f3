// SPDX-License-Identifier: Apache-2.0
#include "agent/command/command.h"

#include <algorithm>
#include <array>

#include "agent/command/pip.h"
#include "agent/command/python.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kMaxCode = 8 << 20;
constexpr size_t kMaxShell = 128 << 10;
// The kernel's bound for one argument, its final NUL included (execve(2), MAX_ARG_STRLEN).
constexpr size_t kMaxArgument = 128 << 10;
constexpr size_t kMaxPath = 4096;
constexpr uint64_t kMaxKept = 16 << 20;

Error Invalid(std::string_view field, std::string_view why) {
  return {CSB_E_INVALID, std::string(field) + ": " + std::string(why), "", false};
}

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

Result<std::string> RequiredText(const json::Value& args, std::string_view field, size_t limit) {
  if (json::Find(args, field) == nullptr) return Invalid(field, "is required");
  const auto text = json::GetString(args, field);
  if (!text) return Invalid(field, "must be a string");
  if (HasNul(*text)) return Invalid(field, "must not hold a NUL byte");
  if (text->size() > limit) return Invalid(field, "is longer than " + std::to_string(limit) + " bytes");
  return std::string(*text);
}

class Environment {
 public:
  void Set(std::string_view name, std::string_view value) {
    for (auto& entry : entries_)
      if (entry.size() > name.size() && entry[name.size()] == '=' &&
          entry.compare(0, name.size(), name) == 0) {
        entry = Join(name, value);
        return;
      }
    entries_.push_back(Join(name, value));
  }
  std::optional<std::string> Get(std::string_view name) const {
    for (const auto& entry : entries_)
      if (entry.size() > name.size() && entry[name.size()] == '=' && entry.compare(0, name.size(), name) == 0)
        return entry.substr(name.size() + 1);
    return std::nullopt;
  }
  std::vector<std::string> Take() { return std::move(entries_); }

 private:
  static std::string Join(std::string_view name, std::string_view value) {
    std::string entry(name);
    entry += '=';
    return entry.append(value);
  }
  std::vector<std::string> entries_;
};

Environment Defaults(const CommandSettings& settings) {
  Environment env;
  env.Set("PATH", CommandPath(settings));
  env.Set("HOME", settings.workspace);
  env.Set("USER", "sandbox");
  env.Set("LOGNAME", "sandbox");
  env.Set("LANG", "C.UTF-8");
  env.Set("TMPDIR", settings.tmp);
  env.Set("PYTHONUSERBASE", settings.workspace + "/.local");
  env.Set("PIP_USER", "1");
  env.Set("PIP_BREAK_SYSTEM_PACKAGES", "1");
  env.Set("PIP_DISABLE_PIP_VERSION_CHECK", "1");
  env.Set("PIP_NO_INPUT", "1");
  for (const auto& entry : settings.env) {
    const size_t equals = entry.find('=');
    if (equals != std::string::npos)
      env.Set(std::string_view(entry).substr(0, equals), std::string_view(entry).substr(equals + 1));
  }
  return env;
}

Status AddRequested(Environment& env, const json::Value& args) {
  const json::Value* wanted = json::Find(args, "env");
  if (wanted == nullptr) return {};
  if (!wanted->IsObject()) return Invalid("env", "must be an object of strings");
  for (const auto& member : wanted->GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    const std::string field = "env." + std::string(name.substr(0, 100));
    if (name.empty() || name.find('=') != std::string_view::npos || HasNul(name))
      return Invalid(field, "is not a name for a variable");
    if (!member.value.IsString()) return Invalid(field, "must be a string");
    const std::string_view value(member.value.GetString(), member.value.GetStringLength());
    if (HasNul(value)) return Invalid(field, "must not hold a NUL byte");
    if (name.size() + value.size() + 2 > kMaxArgument) return Invalid(field, "is longer than 131070 bytes");
    env.Set(name, value);
  }
  return {};
}

Status AddFolder(StartSpec& spec, const json::Value& args, const CommandSettings& settings) {
  spec.cwd = settings.workspace;
  if (json::Find(args, "cwd") == nullptr) return {};
  auto cwd = RequiredText(args, "cwd", kMaxPath);
  if (!cwd) return cwd.error();
  if (cwd->empty()) return Invalid("cwd", "must not be empty");
  spec.cwd = (*cwd)[0] == '/' ? *cwd : settings.workspace + "/" + *cwd;
  return {};
}

Status AddBounds(Command& command, const json::Value& args) {
  const json::Value* output = json::Find(args, "output");
  if (output == nullptr) return {};
  if (!output->IsObject()) return Invalid("output", "must be an object with head and tail");
  for (const auto& [name, target] : {std::pair{"head", &command.head}, std::pair{"tail", &command.tail}}) {
    *target = 0;
    if (json::Find(*output, name) == nullptr) continue;
    const auto bytes = json::GetInt(*output, name);
    const std::string field = std::string("output.") + name;
    if (!bytes || *bytes < 0) return Invalid(field, "must be a whole number, 0 or more");
    if (static_cast<uint64_t>(*bytes) > kMaxKept) return Invalid(field, "is over 16777216 bytes");
    *target = static_cast<uint64_t>(*bytes);
  }
  return {};
}

Status AddStrings(std::vector<std::string>& argv, const json::Value& args, std::string_view field,
                  size_t most) {
  const json::Value* list = json::Find(args, field);
  if (list == nullptr) return {};
  if (!list->IsArray()) return Invalid(field, "must be an array of strings");
  if (list->Size() > most) return Invalid(field, "has more than " + std::to_string(most) + " items");
  for (const auto& item : list->GetArray()) {
    if (!item.IsString()) return Invalid(field, "must be an array of strings");
    const std::string_view text(item.GetString(), item.GetStringLength());
    if (HasNul(text)) return Invalid(field, "must not hold a NUL byte");
    if (text.size() >= kMaxArgument) return Invalid(field, "has an item longer than 131071 bytes");
    argv.emplace_back(text);
  }
  return {};
}

// Variables that are read while an interpreter starts, or by what it is linked to.
bool ChangesInterpreter(const json::Value& args) {
  const json::Value* wanted = json::Find(args, "env");
  if (wanted == nullptr || !wanted->IsObject()) return false;
  for (const auto& member : wanted->GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    for (const std::string_view prefix : {"PYTHON", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "OMP_",
                                          "OPENBLAS_", "MKL_", "HOME", "SSL_", "TMPDIR"})
      if (name.starts_with(prefix)) return true;
  }
  return false;
}

Status PrepareExecute(Command& command, Environment& env, const json::Value& args,
                      const CommandSettings& settings) {
  auto code = RequiredText(args, "code", kMaxCode);
  if (!code) return code.error();
  auto python = FindPython(settings);
  if (!python) return python.error();
  command.spec.argv = {*python, ""};
  if (auto added = AddStrings(command.spec.argv, args, "args", 4096); !added) return added;
  command.spec.code = std::move(*code);
  if (settings.warm_python && !ChangesInterpreter(args)) {
    Environment warm = Defaults(settings);
    warm.Set("CLARA_PRELOAD", settings.preload);
    command.spec.warm_env = warm.Take();
  }
  // A name that no module of the user's has: python puts the file's folder first on sys.path.
  command.spec.code_name = "__main__.py";
  command.spec.code_arg = 1;
  const auto more = env.Get("PYTHONPATH");
  env.Set("PYTHONPATH", more && !more->empty() ? command.spec.cwd + ":" + *more : command.spec.cwd);
  return {};
}

Status PrepareShell(Command& command, const json::Value& args) {
  auto text = RequiredText(args, "command", kMaxShell);
  if (!text) return text.error();
  if (text->size() < kMaxArgument) {
    command.spec.argv = {"/bin/sh", "-c", std::move(*text)};
  } else {
    command.spec.argv = {"/bin/sh", ""};
    command.spec.code = std::move(*text);
    command.spec.code_name = "command.sh";
    command.spec.code_arg = 1;
  }
  return {};
}

Status PrepareExec(Command& command, const json::Value& args) {
  if (auto added = AddStrings(command.spec.argv, args, "argv", 4096); !added) return added;
  if (command.spec.argv.empty()) return Invalid("argv", "needs at least the program");
  if (command.spec.argv[0].empty()) return Invalid("argv", "the program's name is empty");
  return {};
}

Status PreparePip(Command& command, Environment& env, std::string_view op, const json::Value& args,
                  const CommandSettings& settings) {
  auto python = FindPython(settings);
  if (!python) return python.error();
  auto& argv = command.spec.argv;
  command.is_pip = true;
  if (op == "pip_list") {
    // All that code can import: with PIP_USER=1 pip would leave out what the system has.
    env.Set("PIP_USER", "0");
    argv = {*python, "-m", "pip", "list"};
    return {};
  }
  auto package = RequiredText(args, "package", kMaxPath);
  if (!package) return package.error();
  auto requirement = CheckRequirement(*package, settings.workspace);
  if (!requirement) return requirement.error();
  env.Set("PIP_NO_CACHE_DIR", "1");  // the cache would count against the workspace
  argv = {*python, "-m", "pip", "install"};
  // Without a network pip would try an index for many seconds; a wheel's dependencies may lie next to it.
  command.offline_pip = !NetworkIsUp();
  if (command.offline_pip) argv.push_back("--no-index");
  if (!requirement->folder.empty()) argv.push_back("--find-links=" + requirement->folder);
  argv.push_back("--");
  argv.push_back(requirement->text);
  return {};
}

bool IsFileOperation(std::string_view op) {
  constexpr std::array<std::string_view, 7> kNames = {"file_read", "file_write", "file_delete", "file_list",
                                                      "file_stat", "unzip",      "agent_limits"};
  return std::find(kNames.begin(), kNames.end(), op) != kNames.end();
}

}  // namespace

Result<Command> PrepareCommand(std::string_view op, const json::Value& args,
                               const CommandSettings& settings) {
  Command command;
  if (IsFileOperation(op)) {
    command.spec.task = std::string(op);
    command.spec.task_args = json::ToString(args);
    if (op == "unzip") {
      if (auto done = AddBounds(command, args); !done) return done.error();
      return command;
    }
    command.answer = Answer::kFile;
    command.out_stream = CSB_STREAM_DATA;
    command.waits_for_meta = op == "file_read";
    return command;
  }
  Environment env = Defaults(settings);
  if (auto done = AddRequested(env, args); !done) return done.error();
  if (auto done = AddFolder(command.spec, args, settings); !done) return done.error();
  if (auto done = AddBounds(command, args); !done) return done.error();
  Status prepared;
  if (op == "execute")
    prepared = PrepareExecute(command, env, args, settings);
  else if (op == "shell")
    prepared = PrepareShell(command, args);
  else if (op == "exec")
    prepared = PrepareExec(command, args);
  else if (op == "pip_install" || op == "pip_list")
    prepared = PreparePip(command, env, op, args, settings);
  else
    prepared = Error{CSB_E_UNSUPPORTED,
                     "the agent does not know the operation '" + std::string(op.substr(0, 64)) + "'",
                     "agent and host may be of different versions", false};
  if (!prepared) return prepared.error();
  command.spec.env = env.Take();
  return command;
}

}  // namespace csb::agent
