// SPDX-License-Identifier: Apache-2.0
//
// instance.h: one running backend or frontend, as an object that owns the C handle.
//
//   auto backend = BackendInstance::Create(plugin, services);
//   if (!backend) return backend.error();           // names the plugin, and what was wrong
//
//   auto frontend = FrontendInstance::Create(plugin, services, service.table());
//   frontend->Start([&](int exit_code) { RequestShutdown(exit_code); });
//   …
//   frontend->Stop();      // accepts nothing new
//   service.Drain(grace);  // ends what runs
//   frontend.reset();      // sends what is left, joins its threads
//
// Tables are checked before use. Nothing here throws, also when the plugin does. All
// members are [control]: the caller serializes them, unless said otherwise.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "clara_sandbox/backend.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/frontend.h"
#include "host/plugin/host_services.h"
#include "host/plugin/loader.h"

namespace csb::host {

class HostTable;  // the csb_host of one plugin

class BackendInstance {
 public:
  struct Limits {  // how long the plugin may take
    std::chrono::milliseconds create{10000}, destroy{5000};
  };
  // The plugin is called on a thread of the backend's own; one that does not return is left there.
  static Result<std::unique_ptr<BackendInstance>> Create(const LoadedPlugin& plugin, HostServices& services) {
    return Create(plugin, services, Limits());
  }
  static Result<std::unique_ptr<BackendInstance>> Create(const LoadedPlugin& plugin, HostServices& services,
                                                         Limits limits);
  // Destroys the plugin's instance; every operation must have ended. An instance that holds on
  // to operations for two more seconds, or does not return from destroy, is left alone (and its
  // memory with it) and logged: destroying it under them would crash.
  ~BackendInstance();
  BackendInstance(const BackendInstance&) = delete;
  BackendInstance& operator=(const BackendInstance&) = delete;

  const std::string& name() const { return name_; }
  const csb_plugin& descriptor() const { return *descriptor_; }
  const csb_backend_v1* table() const { return table_; }
  csb_backend* self() const { return self_; }
  HostServices& services() const { return services_; }

  // For GuardedOperation. [any]
  uint32_t guard_id() const { return guard_id_; }
  // Runs `work`, which may call the plugin, on the backend's own thread, in the order of asking.
  // false: never. [any]
  bool PostInLane(std::function<void()> work);

 private:
  BackendInstance(const LoadedPlugin& plugin, HostServices& services);

  std::string name_;
  const csb_plugin* descriptor_;
  HostServices& services_;
  std::unique_ptr<HostTable> host_;
  const csb_backend_v1* table_ = nullptr;
  csb_backend* self_ = nullptr;
  uint32_t guard_id_ = 0;
  Limits limits_;
};

class FrontendInstance {
 public:
  // `service` must outlive the instance.
  static Result<std::unique_ptr<FrontendInstance>> Create(const LoadedPlugin& plugin, HostServices& services,
                                                          const csb_service_v1* service);
  // Sends what is left to send, closes, joins. After every operation it submitted has ended.
  ~FrontendInstance();
  FrontendInstance(const FrontendInstance&) = delete;
  FrontendInstance& operator=(const FrontendInstance&) = delete;

  const std::string& name() const { return name_; }
  // on_finished: the frontend came to its own end; called at most once, on any thread, never
  // from inside Start; must not block.
  Status Start(std::function<void(int)> on_finished);
  void Stop();
  void Reload();

 private:
  FrontendInstance(const LoadedPlugin& plugin, HostServices& services);
  static void OnFinished(void* ctx, int32_t exit_code);

  std::string name_;
  HostServices& services_;
  std::unique_ptr<HostTable> host_;
  const csb_frontend_v1* table_ = nullptr;
  csb_frontend* self_ = nullptr;
  struct Finish;
  Finish& finish_;
};

}  // namespace csb::host
