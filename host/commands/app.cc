// SPDX-License-Identifier: Apache-2.0
#include "host/commands/app.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "clara_sandbox/host.h"
#include "host/base/timers.h"
#include "host/base/workers.h"
#include "host/commands/listening.h"
#include "host/config/host_options.h"
#include "host/config/suggest.h"
#include "host/metrics/metrics.h"
#include "host/plugin/instance.h"
#include "host/service/service.h"

namespace csb::host {
namespace {

constexpr size_t kWorkers = 2;
constexpr size_t kPluginWorkers = 8;  // for plugins that block; threads that idle cost next to nothing

std::string CurrentFolder() {
  std::error_code error;
  return std::filesystem::current_path(error).string();
}

ConfigSources SourcesOf(const AppOptions& options) {
  return {FindConfigFile(options.config_file, options.environ), options.environ, options.keys,
          CurrentFolder()};
}

// Where the plugins are, and which are used, has to be known before all their options are; everything else
// waits for the schema.
Result<Config> FirstOptions(const ConfigSources& sources, const Environ& environ) {
  static const Schema* const schema = [] {
    auto* only = new Schema;  // lives as long as the configs made with it
    constexpr std::string_view kFirst[] = {"sandbox.plugin_dirs", "sandbox.mode", "sandbox.backends",
                                           "sandbox.frontends"};
    for (const csb_option& option : HostOptions())
      if (std::find(std::begin(kFirst), std::end(kFirst), option.key) != std::end(kFirst) &&
          !only->Add("host", {&option, 1}))
        std::abort();
    return only;
  }();
  auto config = Config::Load(*schema, sources, UnknownKeys::kIgnore);
  if (config) FillDefaults(*config, environ);
  return config;
}

std::vector<std::string> NamesOf(const ScanResult& plugins, uint32_t kind) {
  std::vector<std::string> names;
  for (const LoadedPlugin& plugin : plugins.plugins)
    if (plugin.descriptor->kind == kind) names.emplace_back(plugin.descriptor->name);
  return names;
}

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Of the plugins that come with the host; the same as of their files.
std::vector<std::string> OwnNames(uint32_t kind) {
  if (kind == CSB_KIND_FRONTEND) return {"http", "stdio"};
  return {"bubblewrap", "docker", "incus", "remote"};
}

// sandbox.backends leaves it, and sandbox.mode.
bool IsEnabled(const Config& config, std::string_view backend) {
  const std::string mode = config.Text("sandbox.mode");
  if (mode != "auto" && backend != (mode == "incus-vm" ? "incus" : mode)) return false;
  return !config.IsSet("sandbox.backends") || Has(config.List("sandbox.backends"), backend);
}

// Each library costs memory and time, and what is not loaded has no faults. Whoever else's it is, its file
// may have another name than the plugin. Who writes a key of it on the command line wants it looked at.
bool IsUsed(const Config& config, const AppOptions& options, std::string_view file) {
  for (const auto& [key, value] : options.keys)
    if (key.substr(0, key.find('.')) == file) return true;
  if (Has(OwnNames(CSB_KIND_BACKEND), file)) return IsEnabled(config, file);
  if (Has(OwnNames(CSB_KIND_FRONTEND), file))
    return Has(options.frontends.empty() ? config.List("sandbox.frontends") : options.frontends, file);
  return true;
}

// Also of those that were not loaded.
std::vector<std::string> AllNamesOf(const ScanResult& plugins, uint32_t kind) {
  std::vector<std::string> names = NamesOf(plugins, kind);
  for (const std::string& name : plugins.skipped)
    if (Has(OwnNames(kind), name)) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

// The backends to make: those of sandbox.backends, of these only the one that sandbox.mode names.
std::vector<std::string> EnabledBackends(const Config& config, const ScanResult& plugins) {
  std::vector<std::string> names = config.List("sandbox.backends");
  if (!config.IsSet("sandbox.backends")) names = NamesOf(plugins, CSB_KIND_BACKEND);
  std::erase_if(names, [&](const std::string& name) { return !IsEnabled(config, name); });
  return names;
}

// Backends that were found and are not made, and why.
std::vector<PassedOver> NotEnabled(const Config& config, const ScanResult& plugins) {
  const std::vector<std::string> enabled = EnabledBackends(config, plugins);
  const std::vector<std::string> listed = config.List("sandbox.backends");
  const std::string mode = config.Text("sandbox.mode");
  std::vector<PassedOver> out;
  for (const std::string& name : AllNamesOf(plugins, CSB_KIND_BACKEND)) {
    if (std::find(enabled.begin(), enabled.end(), name) != enabled.end()) continue;
    if (config.IsSet("sandbox.backends") && std::find(listed.begin(), listed.end(), name) == listed.end())
      out.push_back({name, "is not in sandbox.backends", "add it there"});
    else
      out.push_back({name, "mode " + mode + " does not use it", "SANDBOX_MODE=auto considers it"});
  }
  return out;
}

ServiceOptions OptionsOf(const Config& config) {
  ServiceOptions options;
  options.mode = config.Text("sandbox.mode");
  options.order = config.List("sandbox.order");
  options.max_sandboxes = static_cast<size_t>(config.Int("sandbox.max_sandboxes").value_or(10));
  options.default_execution_timeout = config.Number("sandbox.default_execution_timeout").value_or(30);
  options.max_execution_timeout = config.Number("sandbox.max_execution_timeout").value_or(300);
  options.create_deadline = std::chrono::milliseconds(
      static_cast<int64_t>(config.Number("sandbox.create_timeout").value_or(60) * 1000));
  options.require = config.List("sandbox.require");
  options.allow_unenforced = config.List("sandbox.allow_unenforced");
  options.allow_choice = config.List("sandbox.allow_backend_choice");
  options.state_dir = config.Text("sandbox.state_dir");
  return options;
}

}  // namespace

App::App() = default;
App::~App() { Shutdown(std::chrono::milliseconds(0)); }

Result<std::unique_ptr<App>> App::Create(const AppOptions& options) {
  std::unique_ptr<App> app(new App);
  if (auto status = app->Load(options); !status) return status.error();
  return app;
}

ScanResult App::FindPlugins(const AppOptions& options) {
  auto first = FirstOptions(SourcesOf(options), options.environ);
  return first ? ScanPlugins(PluginDirs(*first)) : ScanResult();
}

Status App::Load(const AppOptions& options) {
  const ConfigSources sources = SourcesOf(options);
  if (auto status = schema_.Add("host", HostOptions()); !status) return status.error();
  auto first = FirstOptions(sources, options.environ);
  if (!first) return first.error();
  ScanResult scanned = options.lean
                           ? ScanPlugins(PluginDirs(*first),
                                         [&](std::string_view file) { return IsUsed(*first, options, file); })
                           : ScanPlugins(PluginDirs(*first));
  for (const std::string& name : scanned.skipped) schema_.AddUnread(name);
  plugins_.skipped = std::move(scanned.skipped);
  plugins_.refused = std::move(scanned.refused);
  for (LoadedPlugin& plugin : scanned.plugins) {
    const std::span<const csb_option> declared(plugin.descriptor->options, plugin.descriptor->option_count);
    if (auto status = schema_.Add(plugin.descriptor->name, declared, plugin.descriptor->description); !status)
      plugins_.refused.emplace_back(plugin.path, status.error());
    else
      plugins_.plugins.push_back(std::move(plugin));
  }
  auto config = csb::host::Config::Load(schema_, sources);
  if (!config) {
    // A plugin that was refused is why its keys are unknown.
    Error error = config.error();
    for (const auto& [path, why] : plugins_.refused)
      error.hint += (error.hint.empty() ? "" : "\n") + why.message;
    return error;
  }
  config_.emplace(*std::move(config));
  FillDefaults(*config_, options.environ);
  if (auto status = CheckTogether(*config_, NamesOf(plugins_, CSB_KIND_BACKEND)); !status) return status;
  const bool quiet = !options.quiet_level.empty() && !config_->IsSet("log.level");
  if (options.silent) return {};
  log_ = std::make_unique<Logger>(
      LogOptions{.level = LogLevel(quiet ? options.quiet_level : config_->Text("log.level")),
                 .json = config_->Text("log.format") == "json"});
  for (const auto& [path, why] : plugins_.refused)
    Log(CSB_LOG_WARN, "host",
        "plugin refused: " + why.message + (why.hint.empty() ? "" : " (" + why.hint + ")"));
  return {};
}

const LoadedPlugin* App::FindPlugin(uint32_t kind, std::string_view name) const {
  for (const LoadedPlugin& plugin : plugins_.plugins)
    if (plugin.descriptor->kind == kind && plugin.descriptor->name == name) return &plugin;
  return nullptr;
}

void App::MakeThreads() {
  if (workers_) return;
  workers_ = std::make_unique<Workers>(kWorkers);
  plugin_workers_ = std::make_unique<Workers>(kPluginWorkers);
  timers_ = std::make_unique<Timers>();
}

void App::CreateBackends() {
  if (backends_created_) return;
  backends_created_ = true;
  MakeThreads();
  for (const std::string& name : EnabledBackends(*config_, plugins_)) {
    auto status = CreateBackend(name);
    if (status) continue;
    Error error = status.error();
    Log(CSB_LOG_ERROR, "host",
        "backend " + name + " is not used: " + error.message +
            (error.hint.empty() ? "" : " (" + error.hint + ")"));
    backend_failures_.push_back({name, std::move(error)});
  }
}

Status App::CreateBackend(const std::string& name) {
  const LoadedPlugin* plugin = FindPlugin(CSB_KIND_BACKEND, name);
  if (plugin == nullptr) {
    const std::string near = Nearest(name, AllNamesOf(plugins_, CSB_KIND_BACKEND));
    return Error{CSB_E_NOT_FOUND,
                 config_->Where("sandbox.backends") + ": no backend plugin " + Quoted(name) + " was found" +
                     (near.empty() ? "" : "; did you mean " + near + "?"),
                 "`clara-sandbox plugins` lists what was found.", false};
  }
  auto instance = BackendInstance::Create(*plugin, *this);
  if (!instance) return instance.error();
  backends_.push_back(*std::move(instance));
  return {};
}

Status App::GiveSockets(const std::vector<InheritedSocket>& sockets,
                        const std::vector<std::string>& frontends) {
  return csb::host::GiveSockets(sockets, frontends, schema_, &*config_);
}

Status App::StartService(bool public_listener) {
  CreateBackends();
  std::vector<std::string> names;
  std::vector<BackendInstance*> instances;
  for (const auto& backend : backends_) {
    names.push_back(backend->name());
    instances.push_back(backend.get());
  }
  metrics_ = std::make_unique<Metrics>(names, CSB_VERSION);
  {
    std::lock_guard lock(early_mutex_);
    for (const EarlyCount& count : early_counts_) metrics_->Count(count.metric, count.labels, count.value);
    early_counts_.clear();
    counting_ = metrics_.get();
  }
  ServiceOptions options = OptionsOf(*config_);
  options.public_listener = public_listener;
  options.passed_over = NotEnabled(*config_, plugins_);
  for (const BackendFailure& failure : backend_failures_)
    options.passed_over.push_back(
        {failure.name, "could not be started: " + failure.error.message, failure.error.hint});
  service_ = std::make_unique<Service>(std::move(options), std::move(instances), *this, *workers_, *timers_,
                                       *metrics_);
  return service_->Start();
}

const csb_service_v1* App::service() const { return service_ ? service_->table() : nullptr; }

Status App::StartFrontends(const std::vector<std::string>& names, std::function<void(int)> on_finished) {
  for (const std::string& name : names) {
    const LoadedPlugin* plugin = FindPlugin(CSB_KIND_FRONTEND, name);
    if (plugin == nullptr) {
      const std::string near = Nearest(name, AllNamesOf(plugins_, CSB_KIND_FRONTEND));
      return Error{CSB_E_NOT_FOUND,
                   "no frontend plugin " + Quoted(name) + " was found" +
                       (near.empty() ? "" : "; did you mean " + near + "?"),
                   "`clara-sandbox plugins` lists what was found and what was refused.", false};
    }
    auto instance = FrontendInstance::Create(*plugin, *this, service());
    if (!instance) return instance.error();
    frontends_.push_back(*std::move(instance));
    if (auto status = frontends_.back()->Start(on_finished); !status) return status;
  }
  return {};
}

Status App::RunPluginCommand(const LoadedPlugin& plugin, const csb_command_v1& table, const std::string& name,
                             const std::vector<std::string>& arguments, const PrintText& print) {
  MakeThreads();
  return RunCommand(plugin, table, name, arguments, *this, print);
}

void App::Reload() {
  for (const auto& frontend : frontends_) frontend->Reload();
}

void App::Shutdown(std::chrono::milliseconds grace, std::chrono::milliseconds patience) {
  if (timers_)
    timers_->At(Timers::Clock::now() + grace + patience, [this] {
      Log(CSB_LOG_ERROR, "host", "a plugin does not let go of its work: leaving without waiting for it");
      std::_Exit(1);
    });
  for (const auto& frontend : frontends_) frontend->Stop();
  if (service_) service_->Drain(grace);
  frontends_.clear();
  service_.reset();
  backends_.clear();
  if (plugin_workers_) plugin_workers_->Stop();
  if (workers_) workers_->Stop();
  if (timers_) timers_->Stop();
}

void App::Log(int32_t level, std::string_view plugin, std::string_view message) {
  if (log_) log_->Log(level, plugin, message);
}

std::optional<std::string_view> App::Config(std::string_view key) { return config_->Get(key); }

void App::Count(std::string_view metric, std::string_view labels_json, double value) {
  if (Metrics* metrics = counting_.load(std::memory_order_acquire))
    return metrics->Count(metric, labels_json, value);
  std::lock_guard lock(early_mutex_);
  if (Metrics* metrics = counting_.load(std::memory_order_acquire))
    return metrics->Count(metric, labels_json, value);
  if (early_counts_.size() < 1000)
    early_counts_.push_back({std::string(metric), std::string(labels_json), value});
}

bool App::Post(std::function<void()> work) { return workers_ && workers_->Post(std::move(work)); }

bool App::PostForPlugin(std::function<void()> work) {
  return plugin_workers_ && plugin_workers_->Post(std::move(work));
}

}  // namespace csb::host
