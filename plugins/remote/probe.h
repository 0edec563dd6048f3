// SPDX-License-Identifier: Apache-2.0
//
// probe.h: whether the service can be used, what it is and what it offers: asks each address /health, /info
// (which shows whether the key is good) and, when it is new or was started anew, /openapi.json. Ends in 4 s.
//
//   Probe(links, [sink](std::string result) { sink.Done(result); });   // JSON of docs/operations.md
//
// Threads: from any; the result comes on the reactor's, or inside the call.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "plugins/remote/links.h"

namespace csb::remote {

void Probe(std::shared_ptr<Links> links, std::function<void(std::string)> done);

}  // namespace csb::remote
