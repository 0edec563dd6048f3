// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/pool.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "plugins/common/readback.h"
#include "plugins/common/small_file.h"

namespace csb::docker {

Pool::Pool(HostRef host, Launcher& launcher, Engine& engine, const Options& options, const Names& names,
           std::string host_id)
    : WarmPool(options.pool_size),
      host_(host),
      launcher_(launcher),
      engine_(engine),
      options_(options),
      names_(names),
      host_id_(std::move(host_id)) {}

std::unique_ptr<Pooled> Pool::Take(const Limits& limits, const std::string& image) {
  if (!(limits == options_.limits) || image != options_.image) return nullptr;
  return TakeReady();
}

bool Pool::Discard(const Pooled& pooled) {
  pooled.sandbox->Detach();
  Status done = launcher_.Remove(pooled.sandbox->live().container, pooled.slot);
  if (done && !pooled.volume.empty()) done = engine_.RemoveVolume(pooled.volume, kChangeLimit);
  if (!pooled.folder.empty()) {
    std::error_code error;
    std::filesystem::remove_all(pooled.folder, error);
    if (error) done = Error{CSB_E_IO, "cannot remove " + pooled.folder + ": " + error.message(), "", false};
  }
  if (!done) host_.LogWarn("a pooled container stays for now: " + done.error().message);
  return static_cast<bool>(done);
}

// Places are counted in the engine, since other host processes have sandboxes too.
std::optional<bool> Pool::Room(int64_t more) {
  auto all = engine_.List(names_.InstallationFilter(), kAskLimit);
  if (!all) return std::nullopt;
  const auto count = std::count_if(all->begin(), all->end(), [](const ListedContainer& c) {
    return c.status == "running" || c.status == "paused" || c.status == "created" || c.status == "restarting";
  });
  return count + more < options_.max_containers;
}

std::unique_ptr<Pooled> Pool::Make() {
  const std::string name = names_.Pooled(host_id_, Next());
  auto pooled = std::make_unique<Pooled>();
  pooled->container = name;
  pooled->slot = name.substr(names_.prefix().size());
  Labels labels = launcher_.CommonLabels("pool");
  labels[kLabelHost] = host_id_;
  const auto fail = [&](const Error& error) {
    if (!pooled->volume.empty())
      if (Status s = engine_.RemoveVolume(pooled->volume, kChangeLimit); !s) host_.LogWarn(s.error().message);
    if (!pooled->folder.empty()) rmdir(pooled->folder.c_str());
    host_.LogWarn("the pool of containers can't be filled: " + error.message);
    return nullptr;
  };
  if (names_.folders()) {
    pooled->folder = names_.Folder(pooled->slot);
    if (Status s = MakeFolders(pooled->folder, 0755); !s) return fail(s.error());
  } else {
    auto volume = engine_.CreateVolume(name, labels, options_.limits.disk, kChangeLimit);
    if (!volume) return fail(volume.error());
    pooled->volume = name;
  }
  auto sandbox = launcher_.Launch({.container = name,
                                   .slot = pooled->slot,
                                   .user = "",
                                   .image = options_.image,
                                   .volume = pooled->volume,
                                   .folder = pooled->folder,
                                   .limits = options_.limits,
                                   .labels = labels},
                                  {}, {});
  if (!sandbox) return fail(sandbox.error());
  pooled->sandbox = *sandbox;
  if (const auto channel = pooled->sandbox->channel()) WarmUp(*channel);
  // Only now: one that fails while it is made would have the next made, and so for ever.
  pooled->sandbox->Claim("", name, on_lost());
  return pooled;
}

void Pool::Announce(const Pooled& pooled) {
  host_.LogInfo("the container " + pooled.container + " waits for a user");
}

std::function<bool(const Pooled&)> Pool::StaleNow() {
  auto image = engine_.Image(options_.image, kAskLimit);
  return [image](const Pooled& pooled) { return image && pooled.sandbox->live().image_id != image->id; };
}

}  // namespace csb::docker
