// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/image.h"

#include "plugins/incus/limits.h"

namespace csb::incus {

Result<ResolvedImage> ResolveImage(Engine& engine, ImageRef ref, const std::string& type,
                                   const std::string& name) {
  ResolvedImage out{std::move(ref), 0};
  if (!out.ref.local) {
    auto cached = engine.CachedImage(out.ref.server, out.ref.alias, type, kAskLimit);
    if (!cached && cached.error().code != CSB_E_NOT_FOUND) return cached.error();
    if (!cached) return out;
    out.size = cached->size;
    out.ref = {};
    out.ref.local = true;
    out.ref.fingerprint = cached->fingerprint;
    return out;
  }
  const std::string wanted = out.ref.alias.empty() ? out.ref.fingerprint : out.ref.alias;
  auto image = engine.Image(wanted, type, kAskLimit);
  if (!image && image.error().code == CSB_E_NOT_FOUND) {
    const std::string other = type == "container" ? "virtual-machine" : "container";
    if (engine.Image(wanted, other, kAskLimit))
      return Error{CSB_E_UNAVAILABLE, "the image " + name + " is one of a " + other + ", not of a " + type,
                   type == "container" ? "set INCUS_SANDBOX_TYPE=vm, or choose another image"
                                       : "set INCUS_SANDBOX_TYPE=container, or choose another image",
                   false};
    return Error{CSB_E_UNAVAILABLE, "the Incus server has no image " + name,
                 "incus image list shows what it has; images:debian/12/cloud is fetched where there is a "
                 "network; set INCUS_SANDBOX_IMAGE (incus.image)",
                 false};
  }
  if (!image) return image.error();
  out.ref.alias.clear();
  out.ref.fingerprint = image->fingerprint;
  out.size = image->size;
  return out;
}

}  // namespace csb::incus
