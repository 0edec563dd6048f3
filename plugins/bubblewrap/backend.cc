// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/backend.h"

#include <exception>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "plugins/bubblewrap/info.h"
#include "plugins/bubblewrap/probe.h"
#include "plugins/common/agent_operation.h"
#include "plugins/common/deferred_operation.h"

namespace csb::bwrap {
namespace {

bool IsLifecycle(uint32_t op) { return op >= CSB_OP_PROBE && op <= CSB_OP_DESTROY; }
bool NeedsUser(uint32_t op) { return op != CSB_OP_PROBE && op != CSB_OP_LIST; }

template <typename F>
std::string ToJson(F&& write) {
  json::Buffer buffer;
  json::Writer w(buffer);
  write(w);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string InfoOf(Sandbox& sandbox) {
  return ToJson([&](json::Writer& w) { WriteInfo(w, sandbox); });
}

std::string List(Registry& registry, const Options& options) {
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Key(w, "sandboxes");
    w.StartArray();
    for (const std::string& user : registry.Users()) {
      // Listing connects to none: a host that is connected counts as one that uses the sandbox.
      if (const auto attached = registry.Find(user); attached && !attached->ended()) {
        WriteInfo(w, *attached);
      } else if (const auto live = registry.Live(user)) {
        WriteListedInfo(w, *live, EngineName(user),
                        ReadEnforced(*live, registry.builder().cgroups().missing));
      } else if (auto record = registry.Stopped(user)) {
        WriteStoppedInfo(w, *record, EngineName(user), options.limits);
      }
    }
    w.EndArray();
    w.EndObject();
  });
}

Result<std::string> StatusOf(Registry& registry, const Options& options, const std::string& user) {
  auto live = registry.Attach(user);
  if (live) return InfoOf(**live);
  if (live.error().code != CSB_E_NO_SANDBOX) return live.error();
  auto record = registry.Stopped(user);
  if (!record) return record.error();
  return ToJson([&](json::Writer& w) { WriteStoppedInfo(w, *record, EngineName(user), options.limits); });
}

std::string DestroyedText(const Registry::Destroyed& d) {
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Member(w, "status", d.existed ? "deleted" : "not_found");
    json::Member(w, "files_preserved", d.files_remain);
    w.EndObject();
  });
}

}  // namespace

Result<std::unique_ptr<BubblewrapBackend>> BubblewrapBackend::Create(HostRef host) {
  auto options = ReadOptions(host);
  if (!options) return options.error();
  auto reactor = Reactor::Create("bubblewrap");
  if (!reactor) return reactor.error();
  return std::unique_ptr<BubblewrapBackend>(
      new BubblewrapBackend(host, *std::move(options), *std::move(reactor)));
}

BubblewrapBackend::BubblewrapBackend(HostRef host, Options options, std::unique_ptr<Reactor> reactor)
    : host_(host),
      options_(std::move(options)),
      reactor_(std::move(reactor)),
      registry_(std::make_unique<Registry>(host_, *reactor_, options_)) {
  registry_->InBackground([](Registry& registry) {
    registry.builder().Warm();
    registry.Sweep();
  });
}

BubblewrapBackend::~BubblewrapBackend() {
  line_->Cut();
  registry_.reset();  // before the reactor that its sandboxes use
}

Result<std::shared_ptr<Operation>> BubblewrapBackend::Submit(const RequestView& request, EventSink sink) {
  if (!IsLifecycle(request.op) && !RunsOnAgent(request.op)) return Unsupported(request.op);
  if (NeedsUser(request.op))
    if (Status s = CheckUserId(request.user); !s) return s.error();
  if (IsLifecycle(request.op)) {
    // Nothing of this object is touched after Done or Fail: the host may destroy it then.
    const Status posted = host_.Post([this, sink, request = Request::Copy(request)] {
      Result<std::string> result{std::string()};
      try {
        result = RunLifecycle(request);
      } catch (const std::exception& e) {
        result = Error{CSB_E_INTERNAL, std::string("bubblewrap: ") + e.what(), "", false};
      }
      if (result)
        sink.Done(*result);
      else
        sink.Fail(result.error());
    });
    if (!posted) return posted.error();
    return std::shared_ptr<Operation>();
  }
  if (const auto sandbox = registry_->Find(request.user)) {
    if (const auto channel = sandbox->channel()) {
      auto op = RunOnAgent(host_, channel, request, sink, sandbox->OomHook());
      if (op || op.error().code != CSB_E_NO_SANDBOX) return op;
    }
  }
  const auto deferred = std::make_shared<DeferredOperation>(host_, Request::Copy(request), std::move(sink));
  // Cancelled, it is over for the host, which may then destroy this object before its turn comes.
  const Status posted = host_.Post([line = line_, deferred] {
    line->With([&](BubblewrapBackend& backend) {
      auto sandbox = backend.registry_->Attach(deferred->user());
      if (!sandbox) return deferred->Fail(sandbox.error());
      deferred->Run((*sandbox)->channel(), (*sandbox)->OomHook());
    });
  });
  if (!posted) return posted.error();
  return std::shared_ptr<Operation>(deferred);
}

Result<std::string> BubblewrapBackend::RunLifecycle(const Request& request) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  switch (request.op) {
    case CSB_OP_PROBE:
      return Probe(options_, registry_->builder());
    case CSB_OP_LIST:
      return List(*registry_, options_);
    case CSB_OP_CREATE: {
      auto made = registry_->Create(request.user, *payload);
      if (!made) return made.error();
      return InfoOf(**made);
    }
    case CSB_OP_STATUS:
      return StatusOf(*registry_, options_, request.user);
    case CSB_OP_STOP: {
      auto stopped = registry_->Stop(request.user, json::GetBool(*payload, "if_unused").value_or(false));
      if (!stopped) return stopped.error();
      return std::string(*stopped == Registry::StopResult::kStopped ? R"({"status":"stopped"})"
                         : *stopped == Registry::StopResult::kLeft  ? R"({"status":"in_use"})"
                                                                    : R"({"status":"not_found"})");
    }
    case CSB_OP_RESTART: {
      auto made = registry_->Restart(request.user);
      if (!made) return made.error();
      return InfoOf(**made);
    }
    case CSB_OP_DESTROY: {
      auto done = registry_->Destroy(request.user, json::GetBool(*payload, "purge").value_or(false));
      if (!done) return done.error();
      return DestroyedText(*done);
    }
    default:
      return Unsupported(request.op);
  }
}

}  // namespace csb::bwrap
