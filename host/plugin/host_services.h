// SPDX-License-Identifier: Apache-2.0
//
// host_services.h: what the csb_host table of a plugin is made from. The composition root
// implements it once; tests implement it with a vector and a map.
//
//   class Services : public HostServices { … };
//   auto backend = BackendInstance::Create(plugin, services);
//
// Every member is thread-safe, does not throw and does not block. The object outlives every
// plugin instance made with it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace csb::host {

class HostServices {
 public:
  virtual ~HostServices() = default;
  // One line. level: CSB_LOG_*; plugin: whose line it is, "host" for the host's own.
  virtual void Log(int32_t level, std::string_view plugin, std::string_view message) = 0;
  // The normalised value of an option of the schema; storage is stable for the life of this
  // object. nullopt: unset without default, or no such key.
  virtual std::optional<std::string_view> Config(std::string_view key) = 0;
  // Adds to a counter; labels_json: a JSON object of strings, or empty.
  virtual void Count(std::string_view metric, std::string_view labels_json, double value) = 0;
  // Runs `work` once, soon, on a worker thread; it may block there. After the workers were
  // stopped the work is run by nobody: false.
  virtual bool Post(std::function<void()> work) = 0;
  // The same for work of a plugin, which may keep its thread for ever: on threads that the host itself
  // does not need.
  virtual bool PostForPlugin(std::function<void()> work) { return Post(std::move(work)); }
};

}  // namespace csb::host
