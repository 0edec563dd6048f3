// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/instance.h"

#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

#include "host/plugin/call.h"
#include "host/plugin/descriptor.h"
#include "host/plugin/guard/registry.h"
#include "host/plugin/host_table.h"

namespace csb::host {

namespace {

constexpr const char* kFault = "this is a fault of the plugin; see docs/plugin-contract.md";

std::string Seconds(std::chrono::milliseconds time) {
  return time.count() % 1000 == 0 ? std::to_string(time.count() / 1000) + " s"
                                  : std::to_string(time.count()) + " ms";
}

// The table of an interface, whatever get_interface does.
template <typename Table>
Result<const Table*> GetTable(const LoadedPlugin& plugin, const char* id) {
  const void* table = nullptr;
  if (Status s = CallPlugin(plugin.descriptor->name, "get_interface",
                            [&] { table = plugin.descriptor->get_interface(id); });
      !s)
    return std::move(s).error();
  return static_cast<const Table*>(table);
}

Status CheckKind(const LoadedPlugin& plugin, uint32_t kind, const char* word) {
  if (Status s = CheckDescriptor(plugin.path, plugin.descriptor); !s) return s;
  if (plugin.descriptor->kind == kind) return {};
  return Error{CSB_E_INVALID, std::string("plugin ") + plugin.descriptor->name + " is not a " + word, "",
               false};
}

// What create gave: a status, an error object and an instance that must fit each other.
Status CheckCreated(const std::string& name, csb_status code, const csb_error& error, const void* instance) {
  if (code != CSB_OK) return ErrorOfPlugin(name, "create", code, error);
  if (instance == nullptr)
    return Error{CSB_E_INTERNAL, "plugin " + name + ": create returned success without an instance (rule 8)",
                 kFault, false};
  return {};
}

// What a plugin that cannot be destroyed may go on using; reachable, so no leak to a checker.
void LeaveBehind(csb_backend* self, std::unique_ptr<HostTable> host) {
  static auto* kept = new std::vector<std::pair<csb_backend*, std::unique_ptr<HostTable>>>;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  kept->emplace_back(self, std::move(host));
}

}  // namespace

BackendInstance::BackendInstance(const LoadedPlugin& plugin, HostServices& services)
    : name_(plugin.descriptor->name),
      descriptor_(plugin.descriptor),
      services_(services),
      host_(std::make_unique<HostTable>(name_, services)) {}

Result<std::unique_ptr<BackendInstance>> BackendInstance::Create(const LoadedPlugin& plugin,
                                                                 HostServices& services, Limits limits) {
  if (Status s = CheckKind(plugin, CSB_KIND_BACKEND, "backend"); !s) return std::move(s).error();
  auto table = GetTable<csb_backend_v1>(plugin, CSB_BACKEND_V1);
  if (!table) return std::move(table).error();
  std::unique_ptr<BackendInstance> instance(new BackendInstance(plugin, services));
  if (Status s = CheckBackendTable(instance->name_, *table); !s) return std::move(s).error();
  struct Made {
    csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
    csb_backend* self = nullptr;
    csb_status code = CSB_OK;
    Status called;
  };
  const auto made = std::make_shared<Made>();
  auto& registry = guard::Registry::Get();
  instance->guard_id_ = registry.Add(instance->name_, services);
  const bool returned = registry.RunInLane(
      instance->guard_id_, limits.create,
      [made, name = instance->name_, create = (*table)->create, host = instance->host_->table()] {
        made->called =
            CallPlugin(name, "create", [&] { made->code = create(host, &made->self, &made->error); });
      });
  if (!returned) {
    instance->host_->Detach();
    LeaveBehind(nullptr, std::move(instance->host_));
    return Error{CSB_E_UNAVAILABLE,
                 "plugin " + instance->name_ + ": create has not returned within " + Seconds(limits.create) +
                     " (rule 8); it is left behind",
                 kFault, false};
  }
  if (!made->called) return std::move(made->called).error();
  if (Status s = CheckCreated(instance->name_, made->code, made->error, made->self); !s)
    return std::move(s).error();
  instance->table_ = *table;
  instance->self_ = made->self;
  instance->limits_ = limits;
  return instance;
}

BackendInstance::~BackendInstance() {
  if (guard_id_ == 0) return;
  auto& registry = guard::Registry::Get();
  if (self_ == nullptr) {  // create failed
    registry.Remove(guard_id_);
    registry.CloseLane(guard_id_, std::chrono::milliseconds(host_ == nullptr ? 0 : 1000));
    return;
  }
  const bool idle = registry.WaitIdle(guard_id_, std::chrono::seconds(2));
  const uint64_t open = registry.open(guard_id_);
  registry.Remove(guard_id_);  // what comes late is nobody's any more
  if (!idle) {
    services_.Log(
        CSB_LOG_ERROR, name_,
        "still holds " + std::to_string(open) +
            " operations: it is not destroyed, since that would crash (plugin-contract rules 12, 17)");
    registry.CloseLane(guard_id_, std::chrono::milliseconds(0));
    host_->Detach();
    LeaveBehind(self_, std::move(host_));
    return;
  }
  const auto called = std::make_shared<Status>();
  const bool returned = registry.RunInLane(guard_id_, limits_.destroy,
                                           [called, name = name_, destroy = table_->destroy, self = self_] {
                                             *called = CallPlugin(name, "destroy", [&] { destroy(self); });
                                           });
  if (!returned) {
    services_.Log(CSB_LOG_ERROR, name_,
                  "plugin " + name_ + ": destroy has not returned within " + Seconds(limits_.destroy) +
                      " (rule 22); it is left behind");
    registry.CloseLane(guard_id_, std::chrono::milliseconds(0));
    host_->Detach();
    LeaveBehind(self_, std::move(host_));
    return;
  }
  if (!*called) services_.Log(CSB_LOG_ERROR, name_, called->error().message);
  registry.CloseLane(guard_id_, std::chrono::seconds(1));
}

bool BackendInstance::PostInLane(std::function<void()> work) {
  return guard::Registry::Get().PostLane(guard_id_, std::move(work));
}

// Outlives the instance, so that a frontend that reports its end late finds it; kept for ever.
struct FrontendInstance::Finish {
  std::mutex mutex;
  enum { kStarting, kRunning, kOver } state = kStarting;
  bool called = false;
  int code = 0;
  std::function<void(int)> report;

  static Finish& Make() {
    static auto* kept = new std::vector<std::unique_ptr<Finish>>;
    static std::mutex kept_mutex;
    const std::lock_guard lock(kept_mutex);
    return *kept->emplace_back(std::make_unique<Finish>());
  }
};

FrontendInstance::FrontendInstance(const LoadedPlugin& plugin, HostServices& services)
    : name_(plugin.descriptor->name),
      services_(services),
      host_(std::make_unique<HostTable>(name_, services)),
      finish_(Finish::Make()) {}

Result<std::unique_ptr<FrontendInstance>> FrontendInstance::Create(const LoadedPlugin& plugin,
                                                                   HostServices& services,
                                                                   const csb_service_v1* service) {
  if (Status s = CheckKind(plugin, CSB_KIND_FRONTEND, "frontend"); !s) return std::move(s).error();
  auto table = GetTable<csb_frontend_v1>(plugin, CSB_FRONTEND_V1);
  if (!table) return std::move(table).error();
  std::unique_ptr<FrontendInstance> instance(new FrontendInstance(plugin, services));
  if (Status s = CheckFrontendTable(instance->name_, *table); !s) return std::move(s).error();
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_frontend* self = nullptr;
  csb_status code = CSB_OK;
  if (Status s =
          CallPlugin(instance->name_, "create",
                     [&] { code = (*table)->create(instance->host_->table(), service, &self, &error); });
      !s)
    return std::move(s).error();
  if (Status s = CheckCreated(instance->name_, code, error, self); !s) return std::move(s).error();
  instance->table_ = *table;
  instance->self_ = self;
  return instance;
}

FrontendInstance::~FrontendInstance() {
  if (self_ == nullptr) return;
  {
    const std::lock_guard lock(finish_.mutex);
    finish_.state = Finish::kOver;
    finish_.report = nullptr;
  }
  if (Status s = CallPlugin(name_, "destroy", [&] { table_->destroy(self_); }); !s)
    services_.Log(CSB_LOG_ERROR, name_, s.error().message);
}

Status FrontendInstance::Start(std::function<void(int)> on_finished) {
  static constexpr csb_frontend_events kEvents{sizeof(csb_frontend_events), 0, &OnFinished};
  {
    const std::lock_guard lock(finish_.mutex);
    finish_.state = Finish::kStarting;
    finish_.report = std::move(on_finished);
  }
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_status code = CSB_OK;
  if (Status s = CallPlugin(name_, "start", [&] { code = table_->start(self_, &kEvents, &finish_, &error); });
      !s)
    return s;
  if (code != CSB_OK) return ErrorOfPlugin(name_, "start", code, error);
  const std::lock_guard lock(finish_.mutex);
  finish_.state = Finish::kRunning;
  // It ended while it started: reported from elsewhere, as promised.
  if (finish_.called && !services_.Post([report = finish_.report, code = finish_.code] { report(code); }))
    return Error{CSB_E_UNAVAILABLE, "frontend " + name_ + " ended while it started", "see its log above",
                 false};
  return {};
}

void FrontendInstance::OnFinished(void* ctx, int32_t exit_code) {
  if (ctx == nullptr) return;
  Finish& finish = *static_cast<Finish*>(ctx);
  std::function<void(int)> report;
  {
    const std::lock_guard lock(finish.mutex);
    if (finish.called || finish.state == Finish::kOver) return;
    finish.called = true;
    finish.code = exit_code;
    if (finish.state == Finish::kRunning) report = finish.report;
  }
  if (report) report(exit_code);
}

void FrontendInstance::Stop() {
  if (Status s = CallPlugin(name_, "stop", [&] { table_->stop(self_); }); !s)
    services_.Log(CSB_LOG_ERROR, name_, s.error().message);
}

void FrontendInstance::Reload() {
  if (!CSB_HAS(table_, reload)) return;
  if (Status s = CallPlugin(name_, "reload", [&] { table_->reload(self_); }); !s)
    services_.Log(CSB_LOG_ERROR, name_, s.error().message);
}

}  // namespace csb::host
