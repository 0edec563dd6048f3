// SPDX-License-Identifier: Apache-2.0
//
// app.h: the composition root: configuration, log, plugins, backends, service and frontends, made in this
// order and taken down in the opposite one. Commands take it as far as they need; tests do too.
//
//   auto app = App::Create({.keys = {{"http.port", "0"}}});      // configuration and plugins
//   if (!app) return app.error();
//   if (auto s = (*app)->StartService(); !s) return s.error();   // backends and service
//   if (auto s = (*app)->StartFrontends({"http"}, finished); !s) return s.error();
//   …
//   (*app)->Shutdown(10s);                                       // or the destructor, with no grace
//
// Block the signals that the program waits for before StartService: threads inherit the mask.
// All members are called by one thread, except what HostServices says.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/service.h"
#include "host/config/config.h"
#include "host/log/logger.h"
#include "host/plugin/command.h"
#include "host/plugin/host_services.h"
#include "host/plugin/loader.h"

namespace csb::host {

class BackendInstance;
class FrontendInstance;
struct InheritedSocket;
class Metrics;
class Service;
class Timers;
class Workers;

struct AppOptions {
  std::string config_file;                                // --config; "" looks in the usual places
  std::vector<std::pair<std::string, std::string>> keys;  // of the command line
  std::string quiet_level;  // log.level when nobody set it; "" leaves the default
  bool silent = false;      // log nothing
  // Of our own plugins only what will be used is loaded: the backends that mode and backends leave, and these
  // frontends (empty: those of sandbox.frontends). Others' keys are not looked at then.
  bool lean = false;
  std::vector<std::string> frontends;
  Environ environ = ReadEnviron();
};

// A backend that was found but is not in use, and why.
struct BackendFailure {
  std::string name;
  Error error;
};

class App final : public HostServices {
 public:
  // CSB_E_INVALID: the configuration is wrong; the message has a line for each mistake.
  static Result<std::unique_ptr<App>> Create(const AppOptions& options);
  ~App() override;
  // What is in the folders of sandbox.plugin_dirs, whatever else is configured; nothing where these are
  // wrong.
  static ScanResult FindPlugins(const AppOptions& options);

  const csb::host::Config& config() const { return *config_; }
  const Schema& schema() const { return schema_; }
  const ScanResult& plugins() const { return plugins_; }
  const LoadedPlugin* FindPlugin(uint32_t kind, std::string_view name) const;

  // Makes the backends that are enabled; a failure is logged and kept, not returned. Idempotent.
  void CreateBackends();
  // One more, whether it is enabled or not.
  Status CreateBackend(const std::string& name);
  const std::vector<std::unique_ptr<BackendInstance>>& backends() const { return backends_; }
  const std::vector<BackendFailure>& backend_failures() const { return backend_failures_; }

  // Before StartService: frontends are to serve sockets that were opened for them (listening.h).
  Status GiveSockets(const std::vector<InheritedSocket>& sockets, const std::vector<std::string>& frontends);

  // Makes backends and service. Starts no sandbox. public_listener: a frontend will listen beyond loopback,
  // so that limits which the machine cannot enforce are refused instead of warned about.
  Status StartService(bool public_listener = false);
  const csb_service_v1* service() const;

  // The error names the frontend; those already started stay until Shutdown. on_finished: [any] thread.
  Status StartFrontends(const std::vector<std::string>& names, std::function<void(int)> on_finished);
  void Reload();

  // Runs a command of a plugin's own, with the host that its instances get. Makes no backend.
  Status RunPluginCommand(const LoadedPlugin& plugin, const csb_command_v1& table, const std::string& name,
                          const std::vector<std::string>& arguments, const PrintText& print);

  // Frontends accept nothing new, running operations get `grace` to end, then everything is taken down.
  // A plugin that does not let go after `patience` more ends the process with exit code 1: sandboxes live on
  // and are adopted by the next start, as after a crash. Idempotent.
  void Shutdown(std::chrono::milliseconds grace,
                std::chrono::milliseconds patience = std::chrono::seconds(30));

  Timers& timers() { return *timers_; }

  // HostServices
  void Log(int32_t level, std::string_view plugin, std::string_view message) override;
  std::optional<std::string_view> Config(std::string_view key) override;
  void Count(std::string_view metric, std::string_view labels_json, double value) override;
  bool Post(std::function<void()> work) override;
  bool PostForPlugin(std::function<void()> work) override;

 private:
  App();
  Status Load(const AppOptions& options);
  void MakeThreads();

  struct EarlyCount {
    std::string metric, labels;
    double value;
  };

  Schema schema_;
  std::optional<csb::host::Config> config_;
  std::unique_ptr<Logger> log_;
  ScanResult plugins_;
  // Below, the order of making; Shutdown is the order of taking down.
  std::unique_ptr<Workers> workers_, plugin_workers_;
  std::unique_ptr<Timers> timers_;
  std::unique_ptr<Metrics> metrics_;
  std::atomic<Metrics*> counting_{nullptr};
  std::mutex early_mutex_;
  std::vector<EarlyCount> early_counts_;  // of backends that count before the metrics are made
  bool backends_created_ = false;
  std::vector<std::unique_ptr<BackendInstance>> backends_;
  std::vector<BackendFailure> backend_failures_;
  std::unique_ptr<Service> service_;
  std::vector<std::unique_ptr<FrontendInstance>> frontends_;
};

}  // namespace csb::host
