// SPDX-License-Identifier: Apache-2.0
//
// kTables is the whole of it: a row a member. The functions below check one type each.
#include "host/service/validate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"
#include "host/config/value.h"
#include "host/service/requirement.h"

namespace csb::host {
namespace {

using json::Value;

enum class Type {
  kText,  // string without NUL; min..max bytes
  kPath,  // string without NUL, 1..4096 bytes
  kInt,   // integer in min..max
  kBool,
  kTimeout,   // seconds; min is the default of the operation, max may be more than that of executions
  kStrings,   // array of strings without NUL; min..max of them
  kEnv,       // object of strings
  kOutput,    // {"head":N,"tail":N}
  kSeconds,   // number in min..max
  kName,      // of a context: 1..64 of A-Z a-z 0-9 _ . -
  kHandle,    // of a process: printable ASCII, 1..64 bytes
  kSignal,    // name with or without SIG, or its number
  kTerminal,  // {"rows":N,"cols":N,"term":"xterm-256color"}
  kPackage,   // one pip requirement
  kMode,      // octal text, 0..0777
  kSize,      // bytes, or text like 512m
  kCores,     // number, or text of one
  kImage,     // an image's name
  kBackend,   // a backend's name
};

struct Field {
  std::string_view name;
  Type type;
  bool required = false;
  double min = 0, max = 0;
};

constexpr double kMaxInt = 9007199254740991;  // 2^53 - 1, what JSON readers agree on
constexpr size_t kMaxArguments = 4096;
constexpr size_t kMaxArgument = 128 << 10;     // MAX_ARG_STRLEN of execve(2), less its NUL
constexpr size_t kMaxArgumentBytes = 1 << 20;  // all of them
constexpr size_t kMaxEnvironment = 1024;       // members
constexpr double kMaxHead = 1 << 30;           // bytes
constexpr double kMaxTail = 16 << 20;          // bytes, which are held in memory
constexpr double kUseDefault = -1;             // default_execution_timeout
constexpr double kMaxYield = 3600;             // seconds
constexpr double kMaxWait = 300;               // seconds
constexpr double kMaxRunTime = 366 * 86400.0;  // seconds a process may be given
constexpr double kMaxTransfer = 3600;          // seconds: a large file on a slow line runs nothing

constexpr Field kOutput{"output", Type::kOutput};
constexpr Field kCwd{"cwd", Type::kPath};
constexpr Field kEnv{"env", Type::kEnv};
constexpr Field kPath{"path", Type::kPath, true};
constexpr Field kKeep{"keep", Type::kBool};
constexpr Field kYield{"yield_after", Type::kSeconds, false, 0.001, kMaxYield};
constexpr Field kHandle{"handle", Type::kHandle, true};
constexpr Field Timeout(double otherwise, double most = 0) {
  return {"timeout", Type::kTimeout, false, otherwise, most};
}

constexpr std::array kCreate = {Field{"image", Type::kImage}, Field{"memory_limit", Type::kSize},
                                Field{"cpu_limit", Type::kCores}, Field{"backend", Type::kBackend}};
constexpr std::array kDestroy = {Field{"purge", Type::kBool}};
constexpr std::array kExecute = {Field{"code", Type::kText, true, 0, kMaxCode},
                                 Field{"description", Type::kText, false, 0, 64 << 10},
                                 Field{"args", Type::kStrings, false, 0, kMaxArguments},
                                 Timeout(kUseDefault),
                                 kOutput,
                                 kCwd,
                                 kEnv,
                                 Field{"context", Type::kName},
                                 Field{"results", Type::kBool},
                                 kKeep,
                                 kYield};
constexpr std::array kShell = {
    Field{"command", Type::kText, true, 0, kMaxCommand}, Timeout(60), kOutput, kCwd, kEnv, kKeep, kYield};
constexpr std::array kExec = {
    Field{"argv", Type::kStrings, true, 1, kMaxArguments}, Timeout(60), kOutput, kCwd, kEnv, kKeep, kYield};
constexpr std::array kPipInstall = {Field{"package", Type::kPackage, true}, Timeout(120), kOutput};
constexpr std::array kPipList = {Timeout(60), kOutput};
constexpr std::array kFileRead = {kPath, Field{"offset", Type::kInt, false, -kMaxInt, kMaxInt},
                                  Field{"length", Type::kInt, false, 0, kMaxInt}, Timeout(60, kMaxTransfer)};
constexpr std::array kFileWrite = {kPath, Field{"mode", Type::kMode}, Timeout(60, kMaxTransfer)};
constexpr std::array kFileDelete = {kPath, Field{"recursive", Type::kBool}, Timeout(60)};
constexpr std::array kFileList = {Field{"path", Type::kPath}, Field{"limit", Type::kInt, false, 1, 1'000'000},
                                  Timeout(60)};
constexpr std::array kFileStat = {kPath, Timeout(60)};
constexpr std::array kUnzip = {kPath, Field{"destination", Type::kPath}, Timeout(120), kOutput};
constexpr std::array kContextDelete = {Field{"name", Type::kName, true}};
constexpr std::array kProcessStart = {Field{"command", Type::kText, false, 1, kMaxCommand},
                                      Field{"argv", Type::kStrings, false, 1, kMaxArguments},
                                      kCwd,
                                      kEnv,
                                      Field{"timeout", Type::kSeconds, false, kMinTimeout, kMaxRunTime},
                                      Field{"terminal", Type::kTerminal},
                                      Field{"input", Type::kBool}};
constexpr std::array kProcessOutput = {kHandle, Field{"offset", Type::kInt, false, -kMaxInt, kMaxInt},
                                       Field{"limit", Type::kInt, false, 1, 8 << 20},
                                       Field{"wait", Type::kSeconds, false, 0, kMaxWait}};
constexpr std::array kProcessInput = {kHandle, Field{"eof", Type::kBool}};
constexpr std::array kProcessSignal = {kHandle, Field{"signal", Type::kSignal, true}};
constexpr std::array kProcessWait = {kHandle, Field{"timeout", Type::kSeconds, false, 0, kMaxWait}};
constexpr std::array kProcessAttach = {kHandle, Field{"offset", Type::kInt, false, -kMaxInt, kMaxInt}};
constexpr std::array kProcessResize = {kHandle, Field{"rows", Type::kInt, true, 1, 10'000},
                                       Field{"cols", Type::kInt, true, 1, 10'000}};
constexpr std::array kProcessRemove = {kHandle};

std::span<const Field> FieldsOf(uint32_t op) {
  switch (op) {
    case CSB_OP_CREATE:
      return kCreate;
    case CSB_OP_DESTROY:
      return kDestroy;
    case CSB_OP_EXECUTE:
      return kExecute;
    case CSB_OP_SHELL:
      return kShell;
    case CSB_OP_EXEC:
      return kExec;
    case CSB_OP_PIP_INSTALL:
      return kPipInstall;
    case CSB_OP_PIP_LIST:
      return kPipList;
    case CSB_OP_FILE_READ:
      return kFileRead;
    case CSB_OP_FILE_WRITE:
      return kFileWrite;
    case CSB_OP_FILE_DELETE:
      return kFileDelete;
    case CSB_OP_FILE_LIST:
      return kFileList;
    case CSB_OP_FILE_STAT:
      return kFileStat;
    case CSB_OP_UNZIP:
      return kUnzip;
    case CSB_OP_CONTEXT_DELETE:
      return kContextDelete;
    case CSB_OP_PROCESS_START:
      return kProcessStart;
    case CSB_OP_PROCESS_OUTPUT:
      return kProcessOutput;
    case CSB_OP_PROCESS_INPUT:
      return kProcessInput;
    case CSB_OP_PROCESS_SIGNAL:
      return kProcessSignal;
    case CSB_OP_PROCESS_WAIT:
      return kProcessWait;
    case CSB_OP_PROCESS_ATTACH:
      return kProcessAttach;
    case CSB_OP_PROCESS_RESIZE:
      return kProcessResize;
    case CSB_OP_PROCESS_REMOVE:
      return kProcessRemove;
    default:
      return {};
  }
}

Error Invalid(std::string_view member, std::string why, std::string hint = "") {
  return {CSB_E_INVALID, std::string(member) + ": " + std::move(why), std::move(hint), false};
}

std::string_view Text(const Value& v) { return {v.GetString(), v.GetStringLength()}; }
std::string Whole(double n) { return std::to_string(static_cast<int64_t>(n)); }

Status CheckText(std::string_view name, const Value& v, size_t min, size_t max) {
  if (!v.IsString()) return Invalid(name, "must be text");
  const auto text = Text(v);
  if (text.size() < min) return Invalid(name, "must not be empty");
  if (text.size() > max) return Invalid(name, "is longer than " + std::to_string(max) + " bytes");
  if (text.find('\0') != std::string_view::npos) return Invalid(name, "must not contain a NUL character");
  return {};
}

Status CheckStrings(const Field& f, const Value& v) {
  if (!v.IsArray()) return Invalid(f.name, "must be an array of texts");
  if (v.Size() < f.min) return Invalid(f.name, "must not be empty");
  if (v.Size() > f.max) return Invalid(f.name, "has more than " + Whole(f.max) + " members");
  size_t total = 0;
  for (rapidjson::SizeType i = 0; i < v.Size(); ++i) {
    const std::string name = std::string(f.name) + "[" + std::to_string(i) + "]";
    // A program's name cannot be empty, its arguments can.
    if (auto s = CheckText(name, v[i], f.required && i == 0 ? 1 : 0, kMaxArgument - 1); !s) return s;
    total += v[i].GetStringLength() + 1;
  }
  if (total > kMaxArgumentBytes) return Invalid(f.name, "is longer than 1 MiB in all");
  return {};
}

Status CheckEnv(const Field& f, const Value& v) {
  if (!v.IsObject()) return Invalid(f.name, "must be an object of texts");
  if (v.MemberCount() > kMaxEnvironment) return Invalid(f.name, "has more than 1024 members");
  size_t total = 0;
  for (const auto& member : v.GetObject()) {
    const auto key = Text(member.name);
    const size_t bad = key.find_first_of(std::string_view("=\0", 2));
    if (key.empty() || bad != std::string_view::npos)
      return Invalid(f.name, "a variable's name must not be empty nor contain = or NUL");
    const std::string name = std::string(f.name) + "." + std::string(key.substr(0, 64));
    const size_t room = key.size() + 2 < kMaxArgument ? kMaxArgument - key.size() - 2 : 0;
    if (auto s = CheckText(name, member.value, 0, room); !s) return s;
    total += key.size() + member.value.GetStringLength() + 2;
  }
  if (total > kMaxArgumentBytes) return Invalid(f.name, "is longer than 1 MiB in all");
  return {};
}

Status CheckInt(std::string_view name, const Value& v, double min, double max) {
  if (v.IsInt64() && static_cast<double>(v.GetInt64()) >= min && static_cast<double>(v.GetInt64()) <= max)
    return {};
  return Invalid(name, "must be a whole number between " + Whole(min) + " and " + Whole(max));
}

Status CheckOutput(const Field& f, const Value& v) {
  if (!v.IsObject()) return Invalid(f.name, R"(must be an object like {"head":65536,"tail":65536})");
  if (const Value* head = json::Find(v, "head"))
    if (auto s = CheckInt("output.head", *head, 0, kMaxHead); !s) return s;
  if (const Value* tail = json::Find(v, "tail"))
    if (auto s = CheckInt("output.tail", *tail, 0, kMaxTail); !s) return s;
  return {};
}

Status CheckTimeout(const Field& f, const Value& v, const Limits& limits, double* out) {
  const double seconds = v.IsNumber() ? v.GetDouble() : std::nan("");
  const double most = std::max(f.max, limits.max_execution_timeout);
  // NaN fails both comparisons.
  if (!(seconds >= kMinTimeout && seconds <= most))
    return Invalid(
        "timeout",
        "must be a number between " + FormatNumber(kMinTimeout) + " and " + FormatNumber(most) + " seconds",
        "the cap is SANDBOX_MAX_EXECUTION_TIMEOUT; run longer work in the background");
  *out = seconds;
  return {};
}

Status CheckSeconds(const Field& f, const Value& v) {
  const double seconds = v.IsNumber() ? v.GetDouble() : std::nan("");
  // NaN fails both comparisons.
  if (seconds >= f.min && seconds <= f.max) return {};
  return Invalid(
      f.name, "must be a number of seconds between " + FormatNumber(f.min) + " and " + FormatNumber(f.max));
}

bool IsWordCharacter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-';
}

Status CheckName(const Field& f, const Value& v) {
  const auto text = v.IsString() ? Text(v) : std::string_view();
  if (text.empty() || text.size() > 64 || !std::all_of(text.begin(), text.end(), IsWordCharacter))
    return Invalid(f.name, "must be 1 to 64 of letters, digits, '_', '.' and '-'");
  return {};
}

Status CheckHandle(const Field& f, const Value& v) {
  const auto text = v.IsString() ? Text(v) : std::string_view();
  if (text.empty() || text.size() > 64 || !std::all_of(text.begin(), text.end(), IsWordCharacter))
    return Invalid(f.name, "must be a handle as the start of the process answered it, like p_0123abcd");
  return {};
}

// Whether there is such a signal is for the machine inside to say.
Status CheckSignal(const Field& f, const Value& v) {
  if (v.IsInt() && v.GetInt() >= 1 && v.GetInt() <= 64) return {};
  const auto text = v.IsString() ? Text(v) : std::string_view();
  const bool word = !text.empty() && text.size() <= 16 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
  if (!word) return Invalid(f.name, "must be a signal's name like INT or TERM, or its number");
  return {};
}

Status CheckTerminal(const Field& f, const Value& v) {
  if (!v.IsObject()) return Invalid(f.name, R"(must be an object like {"rows":24,"cols":80})");
  for (const char* side : {"rows", "cols"})
    if (const Value* n = json::Find(v, side))
      if (auto s = CheckInt(std::string(f.name) + "." + side, *n, 1, 10'000); !s) return s;
  const Value* term = json::Find(v, "term");
  if (term == nullptr) return {};
  const auto text = term->IsString() ? Text(*term) : std::string_view();
  if (text.empty() || text.size() > 64 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return IsWordCharacter(c) || c == '+'; }))
    return Invalid("terminal.term", "must be a terminal's type like xterm-256color");
  return {};
}

Status CheckMode(const Field& f, const Value& v) {
  const auto text = v.IsString() ? Text(v) : std::string_view();
  unsigned mode = 0;
  bool ok = !text.empty() && text.size() <= 5;
  for (char c : text) {
    ok = ok && c >= '0' && c <= '7';
    mode = mode * 8 + static_cast<unsigned>(c - '0');
  }
  if (!ok || mode > 0777) return Invalid(f.name, R"(must be octal text between "0" and "0777")");
  return {};
}

// A size becomes a number of bytes, cores a number, so that a backend reads one form.
Status CheckSize(const Field& f, Value& v) {
  constexpr uint64_t kLeast = 4 << 20, kMost = 1ull << 50;
  uint64_t bytes = 0;
  if (v.IsUint64()) {
    bytes = v.GetUint64();
  } else if (v.IsString() && Text(v).find('\0') == std::string_view::npos) {
    auto parsed = ParseSize(Text(v));
    if (!parsed) return Invalid(f.name, parsed.error().message);
    bytes = *parsed;
  } else {
    return Invalid(f.name, "must be a number of bytes or text like 512m");
  }
  if (bytes < kLeast || bytes > kMost) return Invalid(f.name, "must be between 4 MiB and 1024 TiB");
  v.SetUint64(bytes);
  return {};
}

Status CheckCores(const Field& f, Value& v) {
  double cores = std::nan("");
  if (v.IsNumber()) {
    cores = v.GetDouble();
  } else if (v.IsString()) {
    auto number = Normalise({.type = CSB_OPTION_FLOAT}, Text(v));
    if (number) cores = std::strtod(number->c_str(), nullptr);
  }
  if (!(cores >= 0.01 && cores <= 1024))
    return Invalid(f.name, "must be a number of cores between 0.01 and 1024");
  v.SetDouble(cores);
  return {};
}

Status CheckImage(const Field& f, const Value& v) {
  if (auto s = CheckText(f.name, v, 1, 512); !s) return s;
  if (Text(v)[0] == '-') return Invalid(f.name, "must not begin with '-'");
  for (char c : Text(v))
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7F)
      return Invalid(f.name, "must not contain blanks or control characters");
  return {};
}

Status CheckBackend(const Field& f, const Value& v) {
  if (auto s = CheckText(f.name, v, 1, 32); !s) return s;
  for (char c : Text(v))
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
      return Invalid(f.name, "must be the name of a backend, such as bubblewrap or docker");
  return {};
}

Status CheckPackage(Value& v, rapidjson::Document::AllocatorType& allocator, bool* rewritten) {
  if (!v.IsString()) return Invalid("package", "must be text");
  auto text = Text(v);
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (auto s = CheckRequirement(text); !s) return s;
  if (text.size() != v.GetStringLength()) {
    const std::string trimmed(text);
    v.SetString(trimmed.data(), static_cast<rapidjson::SizeType>(trimmed.size()), allocator);
    *rewritten = true;
  }
  return {};
}

struct Context {
  const Limits& limits;
  Checked& checked;
  rapidjson::Document::AllocatorType& allocator;
  bool rewritten = false;
};

Status CheckField(const Field& f, Value& v, Context& context) {
  switch (f.type) {
    case Type::kText:
      return CheckText(f.name, v, static_cast<size_t>(f.min), static_cast<size_t>(f.max));
    case Type::kPath:
      return CheckText(f.name, v, 1, kMaxPath);
    case Type::kInt:
      return CheckInt(f.name, v, f.min, f.max);
    case Type::kBool:
      return v.IsBool() ? Status() : Status(Invalid(f.name, "must be true or false"));
    case Type::kTimeout:
      return CheckTimeout(f, v, context.limits, &context.checked.timeout);
    case Type::kStrings:
      return CheckStrings(f, v);
    case Type::kEnv:
      return CheckEnv(f, v);
    case Type::kOutput:
      return CheckOutput(f, v);
    case Type::kSeconds:
      return CheckSeconds(f, v);
    case Type::kName:
      return CheckName(f, v);
    case Type::kHandle:
      return CheckHandle(f, v);
    case Type::kSignal:
      return CheckSignal(f, v);
    case Type::kTerminal:
      return CheckTerminal(f, v);
    case Type::kPackage:
      return CheckPackage(v, context.allocator, &context.rewritten);
    case Type::kMode:
      return CheckMode(f, v);
    case Type::kSize:
      context.rewritten = true;
      return CheckSize(f, v);
    case Type::kCores:
      context.rewritten = true;
      return CheckCores(f, v);
    case Type::kImage:
      return CheckImage(f, v);
    case Type::kBackend: {
      auto s = CheckBackend(f, v);
      if (s) context.checked.backend = std::string(Text(v));
      return s;
    }
  }
  return Error{CSB_E_INTERNAL, "a field of unknown type", "", false};
}

double DefaultTimeout(const Field& f, const Limits& limits) {
  const double seconds = f.min == kUseDefault ? limits.default_execution_timeout : f.min;
  return std::min(seconds, limits.max_execution_timeout);
}

// Calls on a process are short but for those that say how long they wait; following one has no end of its
// own.
double TimeoutOfProcessCall(uint32_t op, const Value& payload) {
  constexpr double kSpare = 60;
  const auto wait = [&](const char* member, double otherwise) {
    const Value* v = json::Find(payload, member);
    return kSpare + (v != nullptr && v->IsNumber() ? v->GetDouble() : otherwise);
  };
  switch (op) {
    case CSB_OP_PROCESS_WAIT:
      return wait("timeout", 30);
    case CSB_OP_PROCESS_OUTPUT:
      return wait("wait", 0);
    case CSB_OP_CONTEXT_LIST:
    case CSB_OP_CONTEXT_DELETE:
    case CSB_OP_PROCESS_START:
    case CSB_OP_PROCESS_LIST:
    case CSB_OP_PROCESS_INPUT:
    case CSB_OP_PROCESS_SIGNAL:
    case CSB_OP_PROCESS_RESIZE:
    case CSB_OP_PROCESS_REMOVE:
      return kSpare;
    default:
      return 0;
  }
}

// JSON has no NaN, Infinity or 1e999, but clients write them. Names the member where it can.
std::optional<Error> NotFinite(std::span<const Field> fields, std::string_view payload) {
  rapidjson::Document doc;
  doc.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag |
            rapidjson::kParseNanAndInfFlag>(payload.data(), payload.size());
  if (doc.HasParseError() && doc.GetParseError() != rapidjson::kParseErrorNumberTooBig) return std::nullopt;
  for (const Field& f : fields) {
    if (f.type != Type::kTimeout && f.type != Type::kInt && f.type != Type::kSize && f.type != Type::kCores &&
        f.type != Type::kSeconds)
      continue;
    bool hit = false;
    if (doc.HasParseError()) {
      std::string_view before = payload.substr(0, doc.GetErrorOffset());
      const auto trim = [&] { before = before.substr(0, before.find_last_not_of(" \t\r\n") + 1); };
      trim();
      if (!before.empty() && before.back() == ':') before.remove_suffix(1);
      trim();
      const std::string key = '"' + std::string(f.name) + '"';
      hit = before.size() >= key.size() && before.substr(before.size() - key.size()) == key;
    } else {
      const Value* v = json::Find(doc, f.name);
      hit = v != nullptr && v->IsDouble() && !std::isfinite(v->GetDouble());
    }
    if (hit) return Invalid(f.name, "must be a finite number");
  }
  return std::nullopt;
}

}  // namespace

Result<Checked> Validate(uint32_t op, std::string_view payload, const Limits& limits) {
  if (NameOfOperation(op).empty())
    return Error{CSB_E_BAD_REQUEST, "operation " + std::to_string(op) + " does not exist", "", false};
  if (payload.size() > kMaxPayload)
    return Error{CSB_E_TOO_LARGE, "the request is longer than " + FormatSize(kMaxPayload), "", false};
  const auto fields = FieldsOf(op);
  auto doc = json::ParseObject(payload);
  if (!doc) {
    if (!json::DeeperThan(payload, json::kMaxDepth))
      if (auto error = NotFinite(fields, payload)) return *error;
    return doc.error();
  }

  Checked checked;
  Context context{limits, checked, doc->GetAllocator()};
  std::array<bool, 12> seen{};
  static_assert(seen.size() >= std::max({kExecute.size(), kShell.size(), kExec.size(), kFileRead.size()}));
  // By count: Clang finds the != of iterators that may write ambiguous.
  auto next = doc->MemberBegin();
  for (auto left = doc->MemberCount(); left > 0; --left, ++next) {
    auto& member = *next;
    const auto name = Text(member.name);
    size_t index = 0;
    while (index < fields.size() && fields[index].name != name) ++index;
    if (index == fields.size()) continue;
    bool& twice = seen[index];
    if (twice) return Invalid(name, "stands in the request twice");
    twice = true;
    if (member.value.IsNull()) continue;
    if (auto s = CheckField(fields[index], member.value, context); !s) return s.error();
  }
  for (const Field& f : fields) {
    if (f.required && json::Find(*doc, f.name) == nullptr) return Invalid(f.name, "is required");
    if (f.type == Type::kTimeout && checked.timeout == 0)
      // What is to go on after its answer has all the time that may be asked for.
      checked.timeout = json::Find(*doc, "yield_after") != nullptr ? limits.max_execution_timeout
                                                                   : DefaultTimeout(f, limits);
  }
  if (checked.timeout == 0) checked.timeout = TimeoutOfProcessCall(op, *doc);
  if (op == CSB_OP_EXECUTE && json::Find(*doc, "context") != nullptr && json::Find(*doc, "args") != nullptr)
    return Invalid("args", "a context has no arguments of its own", "leave out args, or context");
  if (op == CSB_OP_PROCESS_START &&
      (json::Find(*doc, "command") == nullptr) == (json::Find(*doc, "argv") == nullptr))
    return Invalid("command", "give either command (for the shell) or argv");
  if (context.rewritten) checked.payload = json::ToString(*doc);
  return checked;
}

}  // namespace csb::host
