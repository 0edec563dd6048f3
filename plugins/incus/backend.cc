// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/backend.h"

#include <exception>
#include <mutex>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "plugins/common/agent_operation.h"
#include "plugins/common/deferred_operation.h"
#include "plugins/common/lifecycle_operation.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/info.h"
#include "plugins/incus/probe.h"
#include "plugins/incus/sweeper.h"

namespace csb::incus {
namespace {

// Of the host's eight, so that other backends have theirs while an engine hangs.
constexpr int kWorkers = 5;

bool IsLifecycle(uint32_t op) { return op >= CSB_OP_PROBE && op <= CSB_OP_DESTROY; }
bool NeedsUser(uint32_t op) { return op != CSB_OP_PROBE && op != CSB_OP_LIST; }

std::string DestroyedText(const Registry::Destroyed& d) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "status", d.existed ? "deleted" : "not_found");
  json::Member(w, "files_preserved", d.files_remain);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// What sees the same folders and process ids: this machine, as host processes with these folders see it.
std::string MachineOf(const Options& options) {
  const auto id = ReadSmallFile("/etc/machine-id"), boot = ReadSmallFile("/proc/sys/kernel/random/boot_id");
  // Two machines made of one copy have one machine id; a boot id they don't share, but it ends with a boot,
  // as every instance does.
  const std::string name =
      EngineName((id ? *id : "") + (boot ? *boot : "") + "|" + options.state_dir + "|" + options.runtime_dir);
  return name.substr(name.size() - 16);
}

Result<std::string> StatusOf(Registry& registry, const std::string& user) {
  if (const auto paused = registry.Find(user); paused && paused->paused() && !paused->over())
    return InfoOf(registry, *paused, true);
  auto live = registry.Attach(user);
  if (live) return InfoOf(registry, **live, true);
  if (live.error().code != CSB_E_NO_SANDBOX) return live.error();
  auto record = registry.RecordOf(user);
  if (!record) return record.error();
  return InfoOf(registry, *record);
}

}  // namespace

Result<std::unique_ptr<IncusBackend>> IncusBackend::Create(HostRef host) {
  auto options = ReadOptions(host);
  if (!options) return options.error();
  auto reactor = Reactor::Create("incus");
  if (!reactor) return reactor.error();
  auto client = HttpClient::Create(**reactor, options->remote.endpoint);
  if (!client) return client.error();
  return std::unique_ptr<IncusBackend>(
      new IncusBackend(host, *std::move(options), *std::move(reactor), *std::move(client)));
}

IncusBackend::IncusBackend(HostRef host, Options options, std::unique_ptr<Reactor> reactor,
                           std::unique_ptr<HttpClient> client)
    : host_(host),
      options_(std::move(options)),
      reactor_(std::move(reactor)),
      posts_(std::make_shared<PostLimit>(host, kWorkers)),
      engine_(std::make_unique<Engine>(*reactor_, std::move(client), options_.remote.project)) {}

IncusBackend::~IncusBackend() {
  line_->Cut();
  if (events_) events_->Cut();
  registry_.reset();
  engine_.reset();  // before the reactor that its calls and sandboxes use
}

void IncusBackend::Listen() {
  events_ = std::make_shared<Lifeline<Registry>>(registry_.get());
  const auto sweep = [host = host_](Registry& registry) {
    if (Status s = Sweep(host, registry); !s)
      host.LogWarn("what an earlier host left is not looked for: " + s.error().message);
    registry.cluster().CountAgain();
    registry.RefillLater();
  };
  engine_->Listen(
      {.on_lifecycle =
           [line = events_](const std::string& action, const std::string& name, const std::string&) {
             line->With([&](Registry& registry) { registry.OnLifecycle(action, name); });
           },
       .on_open =
           [line = events_, sweep] {
             line->With([&](Registry& registry) {
               registry.cluster().Refresh();
               registry.InBackground([sweep](Registry& r) {
                 r.Compare();
                 sweep(r);
               });
             });
           },
       .on_shutdown = [line =
                           events_] { line->With([](Registry& registry) { registry.LetGoOfStreams(); }); }});
}

Result<Registry*> IncusBackend::Ready() {
  if (Registry* ready = ready_) return ready;
  // Nobody's sandboxes are there as long as no engine answered.
  if (auto info = engine_->Info(kProbeLimit); !info) return info.error();
  const std::lock_guard lock(making_);
  if (Registry* ready = ready_) return ready;
  std::string installation = options_.installation;
  if (installation.empty()) {
    auto own = InstallationId(options_.state_dir);
    if (!own) return own.error();
    installation = *own;
  } else if (Status s = MakeFolders(options_.state_dir, 0700); !s) {
    return s.error();
  }
  auto names = std::make_unique<Names>(options_.state_dir, options_.runtime_dir, installation);
  if (Status s = MakeFolders(options_.runtime_dir, 0711); !s) return s.error();
  auto mark = HostMark::Make(names->hosts());
  if (!mark) return mark.error();
  names_ = std::move(names);
  mark_.emplace(*std::move(mark));
  registry_ = std::make_unique<Registry>(host_, *reactor_, *engine_, options_, *names_, mark_->id(),
                                         MachineOf(options_));
  Listen();
  ready_ = registry_.get();
  return registry_.get();
}

Result<std::shared_ptr<Operation>> IncusBackend::Submit(const RequestView& request, EventSink sink) {
  if (!IsLifecycle(request.op) && !RunsOnAgent(request.op)) return Unsupported(request.op);
  if (NeedsUser(request.op))
    if (Status s = CheckUserId(request.user); !s) return s.error();
  if (IsLifecycle(request.op)) {
    const auto operation = std::make_shared<LifecycleOperation>();
    // Nothing of this object is touched after Done or Fail: the host may destroy it then.
    const Status posted = posts_->Post([this, sink, operation, request = Request::Copy(request)] {
      const Conversation talk{
          [&](const std::string& message) { sink.Event(CSB_EVENT_PROGRESS, ProgressEvent(message)); },
          [&](std::function<void()> tell) { operation->WhenCancelled(std::move(tell)); }};
      Result<std::string> result{std::string()};
      try {
        result = RunLifecycle(request, talk);
      } catch (const std::exception& e) {
        result = Error{CSB_E_INTERNAL, std::string("incus: ") + e.what(), "", false};
      }
      if (result)
        sink.Done(*result);
      else
        sink.Fail(result.error());
    });
    if (!posted) return posted.error();
    return std::shared_ptr<Operation>(operation);
  }
  if (Registry* registry = ready_) {
    if (const auto sandbox = registry->Find(request.user)) {
      const auto channel = sandbox->channel();
      // A member that is known to be silent costs nobody the time to find it out again.
      const std::string& member = sandbox->live().member;
      if (const auto down = registry->cluster().Down(member)) {
        const auto since = registry->cluster().SilentSince(member);
        if (!channel || (since && !channel->HeardSince(*since))) return *down;
      }
      if (channel) {
        auto op = RunOnAgent(host_, channel, request, sink, sandbox->Hook());
        if (op || op.error().code != CSB_E_NO_SANDBOX) return op;
      }
    }
  }
  const auto deferred = std::make_shared<DeferredOperation>(host_, Request::Copy(request), std::move(sink));
  // Cancelled, it is over for the host, which may then destroy this object before its turn comes.
  const Status posted = posts_->Post([line = line_, deferred] {
    line->With([&](IncusBackend& backend) {
      auto ready = backend.Ready();
      if (!ready) return deferred->Fail(ready.error());
      auto sandbox = (*ready)->Attach(deferred->user());
      if (!sandbox) return deferred->Fail(sandbox.error());
      deferred->Run((*sandbox)->channel(), (*sandbox)->Hook());
    });
  });
  if (!posted) return posted.error();
  return std::shared_ptr<Operation>(deferred);
}

Result<std::string> IncusBackend::RunLifecycle(const Request& request, const Conversation& talk) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  if (request.op == CSB_OP_PROBE) {
    auto ready = Ready();
    if (ready) return Probe(options_, *engine_, (*ready)->launcher());
    return Unavailable(options_, ready.error());
  }
  auto ready = Ready();
  if (!ready) return ready.error();
  Registry& registry = **ready;
  switch (request.op) {
    case CSB_OP_LIST:
      return List(registry);
    case CSB_OP_CREATE: {
      auto made = registry.Create(request.user, *payload, talk);
      if (!made) return made.error();
      return InfoOf(registry, **made, false);
    }
    case CSB_OP_STATUS:
      return StatusOf(registry, request.user);
    case CSB_OP_STOP: {
      auto stopped = registry.Stop(request.user, json::GetBool(*payload, "if_unused").value_or(false));
      if (!stopped) return stopped.error();
      return std::string(*stopped == Registry::StopResult::kStopped ? R"({"status":"stopped"})"
                         : *stopped == Registry::StopResult::kLeft  ? R"({"status":"in_use"})"
                                                                    : R"({"status":"not_found"})");
    }
    case CSB_OP_RESTART: {
      auto made = registry.Restart(request.user, talk);
      if (!made) return made.error();
      return InfoOf(registry, **made, false);
    }
    case CSB_OP_DESTROY: {
      auto done = registry.Destroy(request.user, json::GetBool(*payload, "purge").value_or(false));
      if (!done) return done.error();
      return DestroyedText(*done);
    }
    default:
      return Unsupported(request.op);
  }
}

}  // namespace csb::incus
