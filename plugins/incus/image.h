// SPDX-License-Identifier: Apache-2.0
//
// image.h: from an image's name to what an instance is made of. One that the server has, from wherever it
// came, is named by its fingerprint: then a create asks nobody else, and works while the image's server is
// away.
//
//   auto image = ResolveImage(engine, *ParseImage(name, remote), "container", name);
#pragma once

#include <string>

#include "plugins/incus/engine.h"
#include "plugins/incus/remotes.h"

namespace csb::incus {

struct ResolvedImage {
  ImageRef ref;
  uint64_t size = 0;  // bytes as it is stored, compressed perhaps; 0: not known
};

// type: "container" or "virtual-machine". name: for messages. CSB_E_UNAVAILABLE with what to do: a local one
// that is missing or of the other type.
Result<ResolvedImage> ResolveImage(Engine& engine, ImageRef ref, const std::string& type,
                                   const std::string& name);

}  // namespace csb::incus
