// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/pool.h"

#include <algorithm>
#include <vector>

#include "plugins/common/readback.h"

namespace csb::incus {

Pool::Pool(HostRef host, Launcher& launcher, Engine& engine, Cluster& cluster, const Options& options,
           const Names& names, std::string host_id)
    : WarmPool(options.pool_size),
      host_(host),
      launcher_(launcher),
      engine_(engine),
      cluster_(cluster),
      options_(options),
      names_(names),
      host_id_(std::move(host_id)) {}

std::unique_ptr<Pooled> Pool::Take(const Limits& limits, const std::string& image) {
  if (!(limits == options_.limits) || image != options_.image) return nullptr;
  return TakeReady();
}

bool Pool::Discard(const Pooled& pooled) {
  pooled.sandbox->Detach();
  pooled.sandbox->Kill();
  Status done = launcher_.Remove(pooled.instance);
  if (done)
    done = engine_.DeleteVolume(pooled.storage, pooled.volume, pooled.sandbox->live().member, kChangeLimit);
  if (!done) host_.LogWarn("a pooled instance stays for now: " + done.error().message);
  return static_cast<bool>(done);
}

// Places are counted in the engine, since other host processes have sandboxes too.
std::optional<bool> Pool::Room(int64_t more) {
  auto all = engine_.Instances(kKeyInstallation, names_.installation(), kAskLimit);
  if (!all) return std::nullopt;
  const auto count =
      std::count_if(all->begin(), all->end(), [](const InstanceInfo& info) { return info.alive(); });
  return count + more < options_.max_instances;
}

std::unique_ptr<Pooled> Pool::Make() {
  auto pooled = std::make_unique<Pooled>();
  pooled->instance = names_.Pooled(host_id_, Next());
  const auto fail = [&](const Error& error) {
    host_.LogWarn("the pool of instances can't be filled: " + error.message);
    return nullptr;
  };
  auto storage = launcher_.Storage();
  if (!storage) return fail(storage.error());
  pooled->storage = storage->name;
  pooled->volume = pooled->instance;
  auto place = cluster_.Place(options_.limits, "");
  if (!place) return fail(place.error());
  const std::string& member = place->member();
  Config config = launcher_.CommonLabels("pool");
  config[kKeyHost] = host_id_;
  config[kKeyMachine] = launcher_.machine();
  config["security.shifted"] = "true";
  if (options_.limits.disk > 0) config["size"] = std::to_string(options_.limits.disk);
  if (Status s = engine_.CreateVolume(pooled->storage, pooled->volume, "clara-sandbox: nobody's files yet",
                                      config, member, kChangeLimit);
      !s)
    return fail(s.error());
  auto sandbox = launcher_.Launch({.instance = pooled->instance,
                                   .user = "",
                                   .image = options_.image,
                                   .pool = pooled->storage,
                                   .volume = pooled->volume,
                                   .member = member,
                                   .limits = options_.limits,
                                   .kind = "pool"},
                                  {}, {});
  place->End(sandbox.ok());
  if (!sandbox) {
    cluster_.Note(member, sandbox.error());
    if (Status s = engine_.DeleteVolume(pooled->storage, pooled->volume, member, kChangeLimit); !s)
      host_.LogWarn(s.error().message);
    return fail(sandbox.error());
  }
  pooled->sandbox = *sandbox;
  if (const auto channel = pooled->sandbox->channel()) WarmUp(*channel);
  // Only now: one that fails while it is made would have the next made, and so for ever.
  pooled->sandbox->Claim("", pooled->instance, on_lost());
  return pooled;
}

void Pool::Announce(const Pooled& pooled) {
  host_.LogInfo("the instance " + pooled.instance + " waits for a user");
}

std::function<bool(const Pooled&)> Pool::StaleNow() {
  auto image = launcher_.FindImage(options_.image);
  const std::string now = image ? image->ref.fingerprint : std::string();
  return [now](const Pooled& pooled) { return !now.empty() && pooled.sandbox->live().image_id != now; };
}

}  // namespace csb::incus
