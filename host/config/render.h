// SPDX-License-Identifier: Apache-2.0
//
// render.h: configuration as text. What it writes can be read again as a configuration file.
#pragma once

#include <string>

#include "host/config/config.h"

namespace csb::host {

// conf/clara-sandbox.conf: every key with its meaning, environment names and default; all keys are commented
// out.
std::string RenderDefaults(const Schema& schema);

// The same as a manual page, clara-sandbox.conf(5).
std::string RenderManual(const Schema& schema);

// The values in force, each with where it came from. A secret is only said to be set.
std::string RenderConfig(const Config& config, const Schema& schema);

// {"file":…,"options":[{"key","value","source","where","default","type","environment","help"}…]}; a secret's
// value is null and "set" tells whether there is one.
std::string RenderConfigJson(const Config& config, const Schema& schema);

}  // namespace csb::host
