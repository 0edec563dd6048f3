// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/pool.h"

#include <algorithm>
#include <vector>

#include "plugins/common/readback.h"

namespace csb::incus {

Pool::Pool(HostRef host, Launcher& launcher, Engine& engine, Cluster& cluster, const Options& options,
           const Names& names, std::string host_id)
    : host_(host),
      launcher_(launcher),
      engine_(engine),
      cluster_(cluster),
      options_(options),
      names_(names),
      host_id_(std::move(host_id)) {}

Pool::~Pool() { Stop(); }

void Pool::Stop() {
  std::deque<std::unique_ptr<Pooled>> left;
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    idle_.notify_all();
    idle_.wait(lock, [this] { return !filling_; });
    left.swap(ready_);
  }
  for (const auto& pooled : left) Discard(*pooled);
}

Pool::Busy::Busy(Pool& pool) : pool_(pool) {
  const std::lock_guard lock(pool_.mutex_);
  ++pool_.busy_;
}

Pool::Busy::~Busy() {
  const std::lock_guard lock(pool_.mutex_);
  --pool_.busy_;
  pool_.idle_.notify_all();
}

size_t Pool::size() const {
  const std::lock_guard lock(mutex_);
  return ready_.size();
}

std::unique_ptr<Pooled> Pool::Take(const Limits& limits, const std::string& image) {
  if (!(limits == options_.limits) || image != options_.image) return nullptr;
  for (;;) {
    std::unique_ptr<Pooled> pooled;
    {
      const std::lock_guard lock(mutex_);
      if (ready_.empty() || stopping_) return nullptr;
      pooled = std::move(ready_.front());
      ready_.pop_front();
    }
    if (pooled->sandbox->channel()) return pooled;
    Discard(*pooled);
  }
}

void Pool::PutBack(std::unique_ptr<Pooled> pooled) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_ && pooled->sandbox->channel()) {
      ready_.push_front(std::move(pooled));
      return;
    }
  }
  Discard(*pooled);
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

void Pool::MakeRoom() {
  // Where the engine does not tell, the create finds out.
  if (!wanted() || Room(1).value_or(true)) return;
  std::unique_ptr<Pooled> pooled;
  {
    std::unique_lock lock(mutex_);
    // A refill goes on no further while somebody is busy, but the one it is making takes a place.
    idle_.wait_for(lock, kChangeLimit, [this] { return !making_; });
  }
  if (Room().value_or(true)) return;
  {
    const std::lock_guard lock(mutex_);
    if (ready_.empty()) return;
    pooled = std::move(ready_.front());
    ready_.pop_front();
  }
  Discard(*pooled);
}

std::unique_ptr<Pooled> Pool::Make() {
  auto pooled = std::make_unique<Pooled>();
  pooled->instance = names_.Pooled(host_id_, next_++);
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
  pooled->sandbox->Claim("", pooled->instance, on_lost_);
  return pooled;
}

void Pool::Refill() {
  {
    const std::lock_guard lock(mutex_);
    if (filling_ || stopping_ || !wanted()) return;
    filling_ = true;
  }
  // Whatever happens, nobody waits for a refill that is over.
  struct Over {
    Pool& pool;
    ~Over() {
      const std::lock_guard lock(pool.mutex_);
      pool.filling_ = pool.making_ = false;
      pool.idle_.notify_all();
    }
  } over{*this};
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      // Users first: a create that waits for the engine gets it alone.
      idle_.wait(lock, [this] { return busy_ == 0 || stopping_; });
      if (stopping_ || ready_.size() >= static_cast<size_t>(options_.pool_size)) return;
      making_ = true;
    }
    auto made = Room().value_or(false) ? Make() : nullptr;
    const std::lock_guard lock(mutex_);
    making_ = false;
    idle_.notify_all();
    if (made == nullptr) return;
    ready_.push_back(std::move(made));
  }
}

void Pool::Check() {
  auto image = launcher_.FindImage(options_.image);
  std::vector<std::unique_ptr<Pooled>> gone;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = ready_.begin(); it != ready_.end();) {
      const auto& sandbox = (*it)->sandbox;
      const bool stale = !sandbox->channel() || (image && !image->ref.fingerprint.empty() &&
                                                 sandbox->live().image_id != image->ref.fingerprint);
      if (!stale) {
        ++it;
        continue;
      }
      gone.push_back(std::move(*it));
      it = ready_.erase(it);
    }
  }
  for (const auto& pooled : gone) Discard(*pooled);
  Refill();
}

}  // namespace csb::incus
