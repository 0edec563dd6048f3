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
    : host_(host),
      launcher_(launcher),
      engine_(engine),
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
  const std::string name = names_.Pooled(host_id_, next_++);
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
  pooled->sandbox->Claim("", name, on_lost_);
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
  auto image = engine_.Image(options_.image, kAskLimit);
  std::vector<std::unique_ptr<Pooled>> gone;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = ready_.begin(); it != ready_.end();) {
      const bool stale =
          !(*it)->sandbox->channel() || (image && (*it)->sandbox->live().image_id != image->id);
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

}  // namespace csb::docker
