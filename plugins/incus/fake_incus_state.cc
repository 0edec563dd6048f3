// SPDX-License-Identifier: Apache-2.0
//
// What a test puts into the fake server, and sees of it.
#include <algorithm>

#include "plugins/common/rfc3339.h"
#include "plugins/incus/fake_incus.h"
#include "plugins/incus/names.h"

namespace csb::incus {

void FakeIncus::Add(Instance instance) {
  const std::lock_guard lock(mutex_);
  if (instance.created.empty()) instance.created = Rfc3339Now();
  instances_[instance.name] = std::move(instance);
}

void FakeIncus::Add(Volume volume) {
  const std::lock_guard lock(mutex_);
  if (volume.created.empty()) volume.created = Rfc3339Now();
  volumes_[volume.name] = std::move(volume);
}

void FakeIncus::Add(ProfileInfo profile) {
  const std::lock_guard lock(mutex_);
  profile.etag = "e" + std::to_string(next_++);
  profiles_[profile.name] = std::move(profile);
}

void FakeIncus::AddMember(const std::string& name, const std::string& status) {
  const std::lock_guard lock(mutex_);
  members_[name] = status;
}

void FakeIncus::SetPools(std::vector<PoolInfo> pools) {
  const std::lock_guard lock(mutex_);
  pools_ = std::move(pools);
}

void FakeIncus::SetImages(std::vector<Image> images) {
  const std::lock_guard lock(mutex_);
  images_ = std::move(images);
}

bool FakeIncus::Has(const std::string& instance) const {
  const std::lock_guard lock(mutex_);
  return instances_.contains(instance);
}

bool FakeIncus::HasVolume(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return volumes_.contains(name);
}

bool FakeIncus::HasProfile(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return profiles_.contains(name);
}

FakeIncus::Instance FakeIncus::Of(const std::string& instance) const {
  const std::lock_guard lock(mutex_);
  const auto it = instances_.find(instance);
  return it == instances_.end() ? Instance{.name = "", .status = ""} : it->second;
}

FakeIncus::Volume FakeIncus::VolumeOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = volumes_.find(name);
  return it == volumes_.end() ? Volume{} : it->second;
}

std::vector<FakeIncus::Instance> FakeIncus::Instances() const {
  const std::lock_guard lock(mutex_);
  std::vector<Instance> out;
  for (const auto& [name, instance] : instances_) out.push_back(instance);
  return out;
}

size_t FakeIncus::volumes() const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(volumes_.begin(), volumes_.end(), [](const auto& entry) {
    const auto kind = entry.second.config.find(kKeyKind);
    return kind == entry.second.config.end() || kind->second != "tools";
  }));
}

size_t FakeIncus::profiles() const {
  const std::lock_guard lock(mutex_);
  return profiles_.size() - profiles_.count("default");
}

size_t FakeIncus::made() const {
  const std::lock_guard lock(mutex_);
  return made_;
}

void FakeIncus::RemoveVolume(const std::string& name) {
  const std::lock_guard lock(mutex_);
  volumes_.erase(name);
}

void FakeIncus::RemoveProfile(const std::string& name) {
  const std::lock_guard lock(mutex_);
  profiles_.erase(name);
}

void FakeIncus::Mute(bool mute) {
  const std::lock_guard lock(mutex_);
  mute_ = mute;
}

void FakeIncus::Fail(const std::string& method, const std::string& part, int code, const std::string& message,
                     int times, bool done) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({method, part, code, message, times, done, {}});
}

void FakeIncus::Before(const std::string& method, const std::string& part, std::function<void()> fn) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({method, part, 0, "", 1, true, std::move(fn)});
}

void FakeIncus::FailStarts(int times) {
  const std::lock_guard lock(mutex_);
  no_starts_ = times;
}

void FakeIncus::SetDown(bool down) {
  const std::lock_guard lock(mutex_);
  down_ = down;
}

std::vector<std::string> FakeIncus::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int FakeIncus::Count(const std::string& start) const {
  const auto all = requests();
  return static_cast<int>(
      std::count_if(all.begin(), all.end(), [&](const std::string& r) { return r.starts_with(start); }));
}

}  // namespace csb::incus
