// SPDX-License-Identifier: Apache-2.0
//
// The incus client's configuration, which others write, and the name of an image looked up in it: what stands
// behind the last NUL.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "plugins/incus/remotes.h"

namespace {

using namespace csb;         // NOLINT: a test program
using namespace csb::incus;  // NOLINT

void Check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size), image = "images:debian/12";
  if (const size_t nul = text.rfind('\0'); nul != std::string::npos) {
    image = text.substr(nul + 1);
    text.resize(nul);
  }
  auto remotes = ParseClientConfig(text, "config.yml", "/nonexistent");
  if (!remotes) {
    Check(remotes.error().code == CSB_E_INVALID && remotes.error().message.size() < 1000);
    return 0;
  }
  Remote remote{.name = "local"};
  remote.client.remotes = *remotes;
  for (const auto& [name, known] : *remotes) {
    Check(name == known.name && !name.empty() && name.find('/') == std::string::npos);
    Check(known.address.size() <= 2048);
    (void)ParseImage(name + ":alias", remote);
  }
  (void)remote.client.FindServer({"10.0.0.5", 8443});
  if (auto ref = ParseImage(image, remote)) {
    Check(ref->alias.empty() != ref->fingerprint.empty());
    Check(ref->local == ref->server.empty());
  }
  return 0;
}
