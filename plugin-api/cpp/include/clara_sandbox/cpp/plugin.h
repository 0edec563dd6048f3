// SPDX-License-Identifier: Apache-2.0
//
// plugin.h: the descriptor of a plugin, and the net under every function that a host calls.
// A whole plugin.cc of a backend:
//
//   #include "clara_sandbox/cpp/backend.h"
//   #include "my_backend.h"
//
//   namespace {
//   constexpr csb_option kOptions[] = {
//       csb::Option({.key = "mine.memory", .type = CSB_OPTION_SIZE, .env = "MINE_MEMORY",
//                    .default_value = "512m", .help = "Memory limit of a sandbox, bytes."}),
//   };
//   constexpr csb::PluginDescriptor kPlugin{
//       .name = "mine", .version = "1.0.0", .description = "Runs code in mine", .options = kOptions};
//   }  // namespace
//   CSB_PLUGIN_BACKEND(MyBackend, kPlugin)
//
// MyBackend has `static Result<std::unique_ptr<MyBackend>> Create(HostRef host)`; see backend.h,
// frontend.h. Exceptions of the plugin end at the functions of this wrapper and become errors.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <span>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"

namespace csb {

struct OptionSpec {
  const char* key;  // "NAME.key"
  uint32_t type = CSB_OPTION_STRING;
  const char* env = nullptr;            // names, space separated; first wins
  const char* default_value = nullptr;  // as a user would write it; null: unset
  const char* help = "";                // one sentence, with the unit
  const char* choices = nullptr;        // CSB_OPTION_CHOICE: space separated
  double min = 0, max = 0;              // both 0: no bound
};

constexpr csb_option Option(const OptionSpec& o) {
  return {sizeof(csb_option), o.type, o.key, o.env, o.default_value, o.help, o.choices, o.min, o.max};
}

// Option `index` of a descriptor. A plugin made with later headers has larger options, so they
// stand struct_size bytes apart, not sizeof(csb_option).
inline const csb_option* OptionAt(const csb_plugin& plugin, uint32_t index) {
  return reinterpret_cast<const csb_option*>(reinterpret_cast<const char*>(plugin.options) +
                                             static_cast<size_t>(index) * plugin.options->struct_size);
}

struct PluginDescriptor {
  const char* name;
  const char* version;
  const char* description;
  std::span<const csb_option> options = {};
};

namespace detail {

using GetInterface = const void* (*)(const char*);

constexpr csb_plugin MakePlugin(uint32_t kind, const PluginDescriptor& d, GetInterface get_interface) {
  return {sizeof(csb_plugin),
          CSB_PLUGIN_MAGIC,
          CSB_ABI_MAJOR,
          CSB_ABI_MINOR,
          kind,
          static_cast<uint32_t>(d.options.size()),
          d.name,
          d.version,
          d.description,
          d.options.empty() ? nullptr : d.options.data(),
          get_interface};
}

// Fills an ABI error without allocating: for when memory is what failed.
inline csb_status FillPlain(csb_error* error, csb_status code, const char* where, const char* what) noexcept {
  if (error != nullptr && error->struct_size >= kErrorSize) {
    error->code = code;
    error->retryable = code == CSB_E_NO_CAPACITY ? 1 : 0;
    std::snprintf(error->message, sizeof error->message, "%s: %s", where, what);
    error->hint[0] = 0;
  }
  return code;
}

// Runs f, which returns Status, and turns whatever leaves it into a code and an error object.
template <typename F>
csb_status Guard(const char* where, csb_error* error, F&& f) noexcept {
  try {
    const Status status = f();
    if (status) return CSB_OK;
    const csb_status code = status.error().Fill(error);
    return code != CSB_OK ? code : FillPlain(error, CSB_E_INTERNAL, where, "failed with the code of success");
  } catch (const std::bad_alloc&) {
    return FillPlain(error, CSB_E_NO_CAPACITY, where, "out of memory");
  } catch (const std::exception& e) {
    return FillPlain(error, CSB_E_INTERNAL, where, e.what());
  } catch (...) {
    return FillPlain(error, CSB_E_INTERNAL, where, "an exception of unknown type");
  }
}

}  // namespace detail
}  // namespace csb

// The one exported symbol. Used by CSB_PLUGIN_BACKEND and CSB_PLUGIN_FRONTEND.
#define CSB_PLUGIN_ENTRY_FUNCTION(kind, descriptor, get_interface)                               \
  extern "C" CSB_EXPORT const csb_plugin* csb_plugin_entry(void) noexcept {                      \
    static const csb_plugin plugin = ::csb::detail::MakePlugin(kind, descriptor, get_interface); \
    return &plugin;                                                                              \
  }
