// SPDX-License-Identifier: Apache-2.0
//
// What the service answers itself. Nothing here waits for a backend but status, list (bounded) and
// explain (for the first probes).
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "host/service/core.h"

namespace csb::host {
namespace {

// What every candidate's entry begins with, in info and explain.
void Begin(json::Writer& w, std::string_view name, bool available, bool chosen, std::string_view reason,
           std::string_view hint, const std::optional<ProbeResult>& probe) {
  w.StartObject();
  json::Member(w, "name", name);
  json::Member(w, "available", available);
  json::Member(w, "chosen", chosen);
  json::Member(w, "reason", reason);
  json::Member(w, "hint", hint);
  json::Member(w, "version", std::string_view(probe ? probe->version : ""));
  json::Member(w, "isolation", std::string_view(probe ? probe->isolation : ""));
  if (probe && probe->virtual_machine) json::Member(w, "type", std::string_view("vm"));
  json::Key(w, "enforces");
  const std::string enforces = probe && !probe->enforces.empty() ? probe->enforces : "{}";
  w.RawValue(enforces.data(), enforces.size(), rapidjson::kObjectType);
}

// Those that selection considered, in its order, then those that the configuration leaves out. Details may
// name what only the operator should see.
void Candidates(json::Writer& w, const SelectionInput& input, const Selection& selection,
                const std::vector<PassedOver>& passed_over, bool with_details) {
  json::Key(w, "candidates");
  w.StartArray();
  for (const Verdict& v : selection.verdicts) {
    const auto of = std::find_if(input.candidates.begin(), input.candidates.end(),
                                 [&](const Candidate& c) { return c.name == v.name; });
    const auto& probe = of->probe;
    Begin(w, v.name, probe && probe->available, v.chosen, v.reason, v.hint, probe);
    if (with_details) {
      json::Key(w, "details");
      const std::string details = probe && !probe->details.empty() ? probe->details : "{}";
      w.RawValue(details.data(), details.size(), rapidjson::kObjectType);
    }
    w.EndObject();
  }
  for (const PassedOver& other : passed_over) {
    Begin(w, other.name, false, false, other.reason, other.hint, std::nullopt);
    if (with_details) {
      json::Key(w, "details");
      w.StartObject();
      w.EndObject();
    }
    w.EndObject();
  }
  w.EndArray();
}

// Writes a JSON object; `fill` adds the members.
template <typename Fill>
std::string Object(Fill fill) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  fill(w);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

void Service::Core::StartLocal(const OpPtr& op) {
  {
    std::lock_guard lock(drain_mutex);
    locals.insert(op);
  }
  for (int i : AllBackends()) Refresh(i);
  const auto answer = [this, op](std::string (Core::*make)()) {
    completions->Post([core = shared_from_this(), op, make] {
      core->Unqueue(op);
      op->FinishIfQueued({.result = (core.get()->*make)()});
    });
  };
  switch (op->op) {
    case CSB_OP_HEALTH:
      return answer(&Core::Health);
    case CSB_OP_INFO:
      return answer(&Core::Info);
    case CSB_OP_METRICS:
      return op->FinishWithData(metrics.Text());
    case CSB_OP_LIST:
      return StartListAll(op);
    default:
      return WhenReady(AllBackends(), [answer] { answer(&Core::Explain); });
  }
}

std::string Service::Core::Health() {
  // Those that a user without a sandbox could get.
  const Selection selection = Select(MakeInput("", std::nullopt));
  return Object([&](json::Writer& w) {
    json::Member(w, "status", selection.chosen ? "healthy" : "unhealthy");
    json::Member(w, "version", std::string_view(options.version));
    const int docker = IndexOf("docker");
    std::lock_guard lock(backends_mutex);
    const auto available = [&](int i) {
      const auto& b = backends[static_cast<size_t>(i)];
      return b->probe && b->probe->available && !b->breaker.IsOpen();
    };
    json::Member(w, "docker", docker >= 0 && available(docker));
    json::Key(w, "backends");
    w.StartObject();
    for (const auto& b : backends) {
      json::Key(w, b->instance.name());
      w.StartObject();
      json::Member(w, "available", available(b->index));
      std::string reason = b->probe ? b->probe->reason : "has not answered its probe yet";
      if (auto open = b->breaker.OpenReason()) reason = *open;
      json::Member(w, "reason", std::string_view(reason));
      json::Member(w, "hint", std::string_view(b->probe ? b->probe->hint : ""));
      json::Member(w, "version", std::string_view(b->probe ? b->probe->version : ""));
      json::Member(w, "sandboxes", static_cast<int64_t>(b->live.load()));
      json::Key(w, "checked_at");
      b->probe ? json::String(w, FormatTime(b->checked_ms)) : static_cast<void>(w.Null());
      w.EndObject();
    }
    w.EndObject();
  });
}

std::string Service::Core::Info() {
  const SelectionInput input = MakeInput("", std::nullopt);
  const Selection selection = Select(input);
  utsname system{};
  uname(&system);
  const int docker = IndexOf("docker");
  int64_t live = 0;
  for (const auto& b : backends) live += b->live.load();
  return Object([&](json::Writer& w) {
    json::Member(w, "version", std::string_view(options.version));
    json::Member(w, "available", selection.chosen.has_value());
    json::Key(w, "docker_version");
    {
      std::lock_guard lock(backends_mutex);
      if (docker >= 0 && backends[static_cast<size_t>(docker)]->probe)
        json::String(w, backends[static_cast<size_t>(docker)]->probe->version);
      else
        w.Null();
    }
    json::Member(w, "active_sandboxes", live);
    json::Member(w, "max_sandboxes", static_cast<uint64_t>(options.max_sandboxes));
    json::Member(w, "mode", std::string_view(options.mode));
    json::Key(w, "chosen");
    selection.chosen ? json::String(w, input.candidates[*selection.chosen].name)
                     : static_cast<void>(w.Null());
    Candidates(w, input, selection, options.passed_over, false);
    json::Key(w, "host_info");
    w.StartObject();
    json::Member(w, "os", static_cast<const char*>(system.sysname));
    json::Member(w, "kernel", static_cast<const char*>(system.release));
    json::Member(w, "architecture", static_cast<const char*>(system.machine));
    json::Member(w, "cpus", static_cast<uint64_t>(std::thread::hardware_concurrency()));
    json::Member(w, "memory_mb",
                 static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE) / (1 << 20));
    w.EndObject();
    json::Key(w, "limits");
    w.StartObject();
    json::Member(w, "default_execution_timeout", limits.default_execution_timeout);
    json::Member(w, "max_execution_timeout", limits.max_execution_timeout);
    json::Member(w, "max_code_bytes", static_cast<uint64_t>(kMaxCode));
    json::Member(w, "max_command_bytes", static_cast<uint64_t>(kMaxCommand));
    json::Member(w, "max_path_bytes", static_cast<uint64_t>(kMaxPath));
    w.EndObject();
  });
}

std::string Service::Core::Explain() {
  const SelectionInput input = MakeInput("", std::nullopt);
  const Selection selection = Select(input);
  return Object([&](json::Writer& w) {
    json::Member(w, "mode", std::string_view(options.mode));
    json::Key(w, "chosen");
    if (selection.chosen) {
      json::String(w, input.candidates[*selection.chosen].name);
    } else {
      w.Null();
      json::Member(w, "error", std::string_view(selection.error.message));
      json::Member(w, "hint", std::string_view(selection.error.hint));
    }
    Candidates(w, input, selection, options.passed_over, true);
  });
}

// ---- status ----

void Service::Core::StartStatus(const OpPtr& op) {
  std::vector<int> needs;
  {
    std::lock_guard lock(drain_mutex);
    locals.insert(op);
  }
  {
    std::lock_guard lock(op->user->mutex);
    op->ArmDeadline();
    if (op->user->live) {
      if (Suspected(op->user->backend)) needs.push_back(op->user->backend);
    } else if (op->user->pin.empty()) {
      needs = AllBackends();
    } else if (const int index = IndexOf(op->user->pin); index >= 0) {
      needs.push_back(index);
    }
  }
  WhenReady(std::move(needs), [core = shared_from_this(), op] { core->RunStatus(op); });
}

void Service::Core::RunStatus(const OpPtr& op) {
  const UserPtr& user = op->user;
  const bool mine = op->Take();
  {
    std::lock_guard lock(drain_mutex);
    locals.erase(op);
  }
  if (!mine) return;
  int target = -1;
  bool live = false;
  uint64_t generation;
  {
    std::lock_guard lock(user->mutex);
    LoadRecord(*user);
    generation = user->generation;
  }
  auto error = FindHome(*user, &target, &live);
  if (!error && target < 0) error = NoSandbox();
  if (error) {
    op->Finish(Outcome::Of(*error));
    return MaybeForget(user);
  }
  op->backend = target;
  CallRequest request;
  request.op = CSB_OP_STATUS;
  request.user = user->id;
  request.request_id = op->request_id;
  request.deadline = options.probe_deadline;
  StartCall(target, std::move(request), op,
            [core = shared_from_this(), op, user, target, generation](Outcome o) {
              core->Report(target, o.code, o.message, false);
              bool ended = o.code == CSB_E_NO_SANDBOX || o.code == CSB_E_NOT_FOUND;
              Result<json::Document> running = o.ToError();
              if (o.code == CSB_OK) {
                running = json::ParseObject(o.result);
                ended = running && json::GetString(*running, "status") == "stopped";
                o.result = core->MergeInfo(*user, target, o.result);
                std::lock_guard lock(user->mutex);
                if (ended && core->WasDestroyed(*user)) o = Outcome::Of(NoSandbox());
              } else if (o.code == CSB_E_NO_SANDBOX) {
                o.code = CSB_E_NOT_FOUND;
              }
              {
                std::lock_guard lock(user->mutex);
                const bool settled = user->generation == generation && user->control == Control::kNone;
                if (ended && settled && user->live && user->running.empty())
                  core->MarkAbsent(*user);  // it went away unseen
                else if (running && settled && !user->live && !user->dead &&
                         user->pin == core->NameOf(target) && !core->records.Moving(user->name))
                  core->AdoptLive(user, target, *running);  // another process made it
                else if (running && settled)
                  core->NoteMember(*user, *running);
              }
              op->Finish(std::move(o));
              core->MaybeForget(user);
            });
}

// ---- list ----

// Of a backend that lists none: those that this host uses.
void Service::Core::WriteLive(json::Writer& w, int backend) {
  ForEachUser([&](const UserPtr& user) {
    {
      const std::lock_guard lock(user->mutex);
      if (!user->live || user->backend != backend) return;
    }
    const std::string info = Object([&](json::Writer& known) {
      json::Member(known, "user_id", std::string_view(user->id));
      json::Member(known, "status", "running");
    });
    const std::string merged = MergeInfo(*user, backend, info);
    w.RawValue(merged.data(), merged.size(), rapidjson::kObjectType);
  });
}

// Every backend is asked at once; one that does not answer in time is named, not waited for.
void Service::Core::StartListAll(const OpPtr& op) {
  struct Gather {
    std::mutex mutex;
    std::vector<std::optional<Outcome>> answers;
    size_t missing = 0;
  };
  const auto gather = std::make_shared<Gather>();
  gather->answers.resize(backends.size());
  gather->missing = backends.size();
  const auto finish = [core = shared_from_this(), op, gather] {
    if (op->ended()) return;
    std::vector<std::optional<Outcome>> answers;
    {
      std::lock_guard lock(gather->mutex);
      answers = gather->answers;
    }
    std::string result = Object([&](json::Writer& w) {
      std::vector<std::pair<std::string, std::string>> failed;
      json::Key(w, "sandboxes");
      w.StartArray();
      for (size_t i = 0; i < answers.size(); ++i) {
        const std::string& name = core->NameOf(static_cast<int>(i));
        if (!answers[i]) {
          failed.emplace_back(name, "did not answer in time");
          continue;
        }
        const auto doc = json::ParseObject(answers[i]->result);
        const json::Value* sandboxes = doc ? json::Find(*doc, "sandboxes") : nullptr;
        if (answers[i]->code != CSB_OK || sandboxes == nullptr || !sandboxes->IsArray()) {
          if (answers[i]->code == CSB_E_UNSUPPORTED)
            core->WriteLive(w, static_cast<int>(i));
          else
            failed.emplace_back(name, answers[i]->message);
          continue;
        }
        for (const auto& info : sandboxes->GetArray()) {
          const auto id = json::GetString(info, "user_id");
          if (!id || !CheckUserId(*id)) continue;
          UserPtr user;
          {
            auto [found, lock] = core->LockUser(*id);
            user = std::move(found);
            if (user->backend == static_cast<int>(i) && json::GetString(info, "status") == "running")
              core->NoteMember(*user, info);
          }
          const std::string merged = core->MergeInfo(*user, static_cast<int>(i), json::ToString(info));
          w.RawValue(merged.data(), merged.size(), rapidjson::kObjectType);
          core->MaybeForget(user);
        }
      }
      w.EndArray();
      json::Key(w, "unavailable");
      w.StartArray();
      for (const auto& [name, reason] : failed) {
        w.StartObject();
        json::Member(w, "backend", std::string_view(name));
        json::Member(w, "reason", std::string_view(reason));
        w.EndObject();
      }
      w.EndArray();
    });
    core->Unqueue(op);
    op->FinishIfQueued({.result = std::move(result)});
  };
  if (backends.empty()) {
    completions->Post(finish);
    return;
  }
  timers.At(Timers::Clock::now() + options.adopt_deadline,
            [weak = weak_from_this(), finish, weak_op = std::weak_ptr(op)] {
              const auto core = weak.lock();
              const auto op = weak_op.lock();
              if (core && op && !op->ended()) core->completions->Post(finish);
            });
  for (int i : AllBackends()) {
    const auto answer = [core = shared_from_this(), gather, finish, i](Outcome o) {
      {
        std::lock_guard lock(gather->mutex);
        gather->answers[static_cast<size_t>(i)] = std::move(o);
        if (--gather->missing > 0) return;
      }
      core->completions->Post(finish);
    };
    if (auto reason = backends[static_cast<size_t>(i)]->breaker.OpenReason()) {
      answer(Outcome::Of(Unavailable(NameOf(i), *reason)));
      continue;
    }
    CallRequest request;
    request.op = CSB_OP_LIST;
    request.deadline = options.adopt_deadline;
    StartCall(i, std::move(request), nullptr, answer);
  }
}

}  // namespace csb::host
