// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/readback.h"

#include <condition_variable>
#include <memory>
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/limit_text.h"

namespace csb {
namespace {

constexpr size_t kMostReport = 64 << 10;
constexpr uint64_t kLimitMs = 10'000;

// Shared with the channel, which may answer after the waiter has gone.
struct Collector final : AgentSink {
  std::mutex mutex;
  std::condition_variable changed;
  std::string out, err;
  bool done = false;
  AgentOutcome outcome;
  std::shared_ptr<Collector> self;  // keeps it until OnDone

  void OnOutput(uint32_t stream, std::string_view data) override {
    const std::lock_guard lock(mutex);
    std::string& text = stream == 1 ? out : err;
    text.append(data.substr(0, kMostReport - std::min(kMostReport, text.size())));
  }
  void OnEvent(uint32_t, std::string_view) override {}
  void OnInputCredit(uint64_t) override {}
  void OnDone(AgentOutcome result) override {
    std::shared_ptr<Collector> keep;
    const std::lock_guard lock(mutex);
    keep = std::move(self);
    outcome = std::move(result);
    done = true;
    changed.notify_all();
  }
};

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 256)) out += c >= 0x20 && c < 0x7F ? c : '?';
  return out;
}

std::string Text(const json::Value& report, const char* member) {
  return Printable(json::GetString(report, member).value_or(""));
}

std::optional<uint64_t> Count(const json::Value& report, const char* member) {
  const json::Value* v = json::Find(report, member);
  return v != nullptr && v->IsUint64() ? std::optional(v->GetUint64()) : std::nullopt;
}

Enforcement Missing(bool wanted) {
  return {false, "unlimited",
          wanted ? "the engine or its kernel does not enforce it" : "no limit is configured", wanted};
}

std::string Outside(const ReadBackContext& c, const char* controller) {
  return "cgroup v" + std::to_string(c.host.version) + " " + controller + ", read from outside";
}

Enforcement Memory(const json::Value& report, const ReadBackContext& c) {
  const auto limit = Count(report, "memory_limit");
  if (!limit && c.host.memory)
    return {true, FormatSize(*c.host.memory),
            Outside(c, "memory") + (c.host.swap_excluded ? "" : " (swap not counted)")};
  if (!limit) return Missing(c.limits.memory > 0);
  const auto both = Count(report, "memory_swap_limit");
  std::string by = Text(report, "memory_by");
  if (!both || *both > *limit) by += " (swap not counted)";
  return {true, FormatSize(*limit), by};
}

// What its kernel says of the machine that it runs on.
void Machine(const json::Value& report, Enforced& out) {
  const json::Value* machine = json::Find(report, "machine");
  if (machine == nullptr || !machine->IsObject()) return;
  if (const auto memory = Count(*machine, "memory"))
    out["memory"] = {true, FormatSize(*memory), "size of the virtual machine, as its kernel sees it"};
  if (const auto processors = Count(*machine, "processors"))
    out["cpu"] = {true, FormatCores(static_cast<double>(*processors)), "processors of the virtual machine"};
  out["pids"] = {true, "own kernel", "a flood of processes stays in the virtual machine"};
}

Enforcement Network(const json::Value& report, const ReadBackContext& c) {
  size_t others = 0;
  if (const json::Value* interfaces = json::Find(report, "interfaces");
      interfaces != nullptr && interfaces->IsArray())
    for (const auto& name : interfaces->GetArray())
      if (name.IsString() && std::string_view(name.GetString()) != "lo") ++others;
  if (others == 0) return {true, "none", "network namespace with a loopback only"};
  size_t ranges = 0;
  if (const json::Value* routes = json::Find(report, "unreachable_routes");
      routes != nullptr && routes->IsArray())
    ranges = routes->Size();
  if (c.blocked && ranges > 0)
    return {true, c.limits.network,
            c.words.own_network + "; " + std::to_string(ranges) +
                " private ranges unreachable by routes the sandbox can't change"};
  return {false, c.limits.network, c.words.joined_network};
}

Enforcement Userns(const json::Value& report, const ReadBackContext& c) {
  const std::string map = Text(report, "uid_map");
  const bool own = !map.empty() && map != "0 0 4294967295";
  if (own) return {true, map, c.words.userns};
  return {false, "host", c.words.no_userns};
}

}  // namespace

Result<Enforced> EnforcedOf(std::string_view text, const ReadBackContext& c) {
  auto doc = json::ParseObject(text);
  if (!doc)
    return Error{CSB_E_UNAVAILABLE, "the limits could not be read back: " + doc.error().message, "", true};
  const json::Value& report = *doc;
  if (c.machine && !json::GetBool(report, "workspace_separate").value_or(false))
    return Error{
        CSB_E_UNAVAILABLE, "the workspace is not mounted in the virtual machine: files would end with it",
        "the server's machine needs virtiofsd (then restart incus), and the image a kernel with virtiofs",
        false};
  Enforced out;
  out["memory"] = Memory(report, c);
  const auto cores = json::GetNumber(report, "cpu_cores");
  out["cpu"] = !cores && c.host.cores ? Enforcement{true, FormatCores(*c.host.cores), Outside(c, "cpu")}
               : cores                ? Enforcement{true, FormatCores(*cores), Text(report, "cpu_by")}
                                      : Missing(c.limits.cpu > 0);
  const auto pids = Count(report, "pids_limit");
  out["pids"] = !pids && c.host.pids ? Enforcement{true, std::to_string(*c.host.pids), Outside(c, "pids")}
                : pids               ? Enforcement{true, std::to_string(*pids),
                                     Text(report, "pids_by") + " (8 of them for the agent)"}
                                     : Missing(c.limits.pids > 0);
  const auto disk = Count(report, "workspace_bytes");
  if (c.limits.disk > 0 && disk && *disk <= c.limits.disk)
    out["disk"] = {true, FormatSize(*disk), c.words.disk};
  else
    out["disk"] = {false, "unlimited",
                   c.limits.disk > 0 ? "the engine's storage (" + c.storage + ") does not enforce it"
                                     : "no limit is configured",
                   c.limits.disk > 0};
  if (c.machine) Machine(report, out);
  out["network"] = Network(report, c);
  const bool filter = json::GetInt(report, "seccomp").value_or(0) == 2;
  out["seccomp"] = {filter, filter ? "filter" : "off", filter ? "seccomp filter" : "no filter is active"};
  out["userns"] = Userns(report, c);
  const bool no_new = json::GetInt(report, "no_new_privs").value_or(0) == 1;
  out["no_new_privs"] = {no_new, no_new ? "1" : "0", "prctl(PR_SET_NO_NEW_PRIVS)"};
  const std::string rights = Text(report, "cap_effective");
  const bool none = !rights.empty() && rights.find_first_not_of('0') == std::string::npos;
  out["capabilities"] = {none, rights, none ? "user code has no capability" : "user code has capabilities"};
  return out;
}

namespace {

// Blocks until the operation has ended; the channel bounds that.
Result<std::shared_ptr<Collector>> RunInside(AgentChannel& channel, const char* op, const std::string& args) {
  auto collector = std::make_shared<Collector>();
  collector->self = collector;
  AgentStream stream;
  const Status started = channel.Start(
      {.op = op, .args = args, .timeout_ms = kLimitMs, .credit = kMostReport}, collector.get(), &stream);
  if (!started) {
    collector->self.reset();
    return started.error();
  }
  std::unique_lock lock(collector->mutex);
  collector->changed.wait(lock, [&] { return collector->done; });
  return collector;
}

}  // namespace

Result<Enforced> ReadBack(AgentChannel& channel, const ReadBackContext& context) {
  const std::string args =
      R"({"argv":[")" + context.agent + R"(","--report","--workspace",")" + context.workspace + R"("]})";
  auto ran = RunInside(channel, "exec", args);
  if (!ran) return ran.error();
  const Collector& report = **ran;
  if (report.outcome.code != CSB_OK)
    return Error{CSB_E_UNAVAILABLE, "the limits could not be read back: " + report.outcome.message, "", true};
  if (report.out.empty())
    return Error{CSB_E_UNAVAILABLE, "the limits could not be read back: " + Printable(report.err), "", true};
  return EnforcedOf(report.out, context);
}

bool SucceedsInside(AgentChannel& channel, const std::string& command) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "command", command);
  w.EndObject();
  auto ran = RunInside(channel, "shell", {buffer.GetString(), buffer.GetSize()});
  if (!ran || (*ran)->outcome.code != CSB_OK) return false;
  auto result = json::ParseObject((*ran)->outcome.result);
  return result && json::GetInt(*result, "exit_code") == 0;
}

void WarmUp(AgentChannel& channel) {
  // How it ends does not matter: an image may have no shell.
  static_cast<void>(RunInside(channel, "shell", R"({"command":"true"})"));
}

}  // namespace csb
