// SPDX-License-Identifier: Apache-2.0
//
// call.h: calls into a plugin. A plugin promises not to throw (plugin-contract rule 9); one
// that does anyway gets the exception caught here, where it becomes an Error with its name.
//
//   csb_status code = CSB_OK;
//   if (Status s = CallPlugin(name, "create", [&] { code = table->create(host, &self, &error); }); !s)
//     return s;                                        // threw
//   if (code != CSB_OK) return ErrorOfPlugin(name, "create", code, error);
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

Error Threw(std::string_view plugin, const char* function, const char* what);

// What a function of a plugin returned as an error; complete also when the plugin left out the rest.
Error ErrorOfPlugin(std::string_view plugin, const char* function, csb_status code, const csb_error& error);

template <typename F>
Status CallPlugin(std::string_view plugin, const char* function, F&& f) noexcept {
  try {
    std::forward<F>(f)();
    return {};
  } catch (const std::exception& e) {
    return Threw(plugin, function, e.what());
  } catch (...) {
    return Threw(plugin, function, "of unknown type");
  }
}

}  // namespace csb::host
