// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/sweeper.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/installation.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"

namespace csb::incus {
namespace {

// Another machine's host may be at it until then.
constexpr std::chrono::minutes kMakingLimit{10};

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename());
  return names;
}

class Sweeper {
 public:
  Sweeper(const HostRef& host, Registry& registry)
      : host_(host), registry_(registry), names_(registry.names()), engine_(registry.engine()) {}

  Status Run() {
    auto instances = engine_.Instances(kKeyInstallation, names_.installation(), kAskLimit);
    if (!instances) return instances.error();
    auto storage = registry_.launcher().Storage();
    if (!storage) return storage.error();
    pool_ = storage->name;
    auto volumes = engine_.Volumes(pool_, names_.prefix(), kAskLimit);
    if (!volumes) return volumes.error();
    // Last: whoever claims one of these meanwhile has written it down before.
    if (Status s = ReadRecords(); !s) return s;
    for (const InstanceInfo& info : *instances)
      if (Instance(info)) there_.insert(info.name);
    for (const VolumeInfo& volume : *volumes) Volume(volume);
    Folders();
    return {};
  }

 private:
  Status ReadRecords() {
    auto records = registry_.records().All(&complete_);
    if (!records) return records.error();
    for (const Record& record : *records) {
      named_[record.instance] = record.user;
      files_.insert(record.volume);
    }
    if (!complete_) host_.LogWarn("not all records of users can be read: what seems to be nobody's is kept");
    return {};
  }

  void Complain(const Status& status) {
    if (!status) host_.LogWarn(status.error().message);
  }

  bool MakerAlive(const InstanceInfo& info) {
    if (info.Get(kKeyMachine) == registry_.machine()) return HostAlive(names_.hosts(), info.Get(kKeyHost));
    // Of a host elsewhere: a pooled one ends by itself once its host is gone, and what was never started is
    // being made, or old.
    return info.alive() || !OlderThan(info.created, kMakingLimit);
  }

  // True: it stays.
  bool Instance(const InstanceInfo& info) {
    if (!names_.IsOurs(info.name) || !complete_) return true;
    if (const auto user = named_.find(info.name); user != named_.end()) {
      // A user's whose sandbox ended while no host was there.
      if (info.status == "Stopped") registry_.CleanDead(user->second);
      return true;
    }
    if (info.status == "Error" || MakerAlive(info)) {
      // A user's of a living host which no record names: one that is being removed, or made.
      return true;
    }
    const std::string key(names_.KeyIn(info.name));
    if (key.empty()) {
      // Once more: a claim may have come between the lists.
      auto records = registry_.records().All();
      if (!records) return true;
      for (const Record& record : *records)
        if (record.instance == info.name) return true;
      Complain(registry_.launcher().Remove(info.name));
      return false;
    }
    auto lock = registry_.Lock(key);
    if (!lock) return true;
    auto record = registry_.records().Read(key);
    if (!record ? record.error().code != CSB_E_NOT_FOUND : record->instance == info.name) return true;
    const Status removed = registry_.launcher().Remove(info.name);
    Complain(removed);
    return !removed;
  }

  // By what is still there: the list of volumes is older than what was removed since.
  bool InUse(const VolumeInfo& volume) const {
    return std::any_of(volume.used_by.begin(), volume.used_by.end(), [&](const std::string& used) {
      const std::string name = InstanceOf(used);
      return there_.contains(name) || !names_.IsOurs(name);
    });
  }

  // An empty workspace of a pool whose host is dead, or files of a user whose record is lost.
  void Volume(const VolumeInfo& volume) {
    if (ValueOf(volume.config, kKeyInstallation) != names_.installation() || !complete_) return;
    if (files_.contains(volume.name) || InUse(volume)) return;
    const std::string kind = ValueOf(volume.config, kKeyKind);
    if (kind == "pool") {
      const std::string maker = ValueOf(volume.config, kKeyHost);
      if (HostAlive(names_.hosts(), maker)) return;
      // A host elsewhere makes the volume a moment before its instance.
      if (ValueOf(volume.config, kKeyMachine) != registry_.machine() &&
          !OlderThan(volume.created, kMakingLimit))
        return;
      // Once more: it may have become a user's since the lists, who has stopped his sandbox already.
      auto records = registry_.records().All();
      if (!records) return;
      for (const Record& record : *records)
        if (record.volume == volume.name) return;
      // Refused by the engine where something uses it meanwhile.
      const Status gone = engine_.DeleteVolume(pool_, volume.name, volume.location, kChangeLimit);
      if (!gone) host_.LogDebug(gone.error().message);
      return;
    }
    if (kind == "tools") {
      // Of an agent of another version, perhaps of a host elsewhere that makes its first instance now.
      auto digest = registry_.launcher().ToolsDigest();
      if (!digest || volume.name == names_.ToolsVolume(*digest) || !OlderThan(volume.created, kMakingLimit))
        return;
      const Status gone = engine_.DeleteVolume(pool_, volume.name, volume.location, kChangeLimit);
      if (!gone) host_.LogDebug(gone.error().message);
      return;
    }
    const std::string user = ValueOf(volume.config, kKeyUser);
    if (kind != "workspace" || !CheckUserId(user)) return;
    const std::string key = KeyOf(user);
    const std::string member = volume.location == "none" ? "" : volume.location;
    if (names_.Volume(key) != volume.name) return;
    auto lock = registry_.Lock(key);
    if (!lock) return;
    auto record = registry_.records().Read(key);
    if (record || record.error().code != CSB_E_NOT_FOUND) return;
    // Once more: a purge since the list has removed it, and then the record, which must not come back.
    if (!engine_.Volume(pool_, volume.name, member, kAskLimit)) return;
    // Of a purge that was cut off between the two, or of a record that somebody deleted: the files stay.
    const uint64_t first = FirstGeneration();
    Complain(registry_.records().Create(key, {.user = user,
                                              .instance = names_.Instance(key, first),
                                              .generation = first,
                                              .pool = pool_,
                                              .volume = volume.name,
                                              .member = member,
                                              .created_at = Rfc3339Now(),
                                              .image = registry_.options().image,
                                              .limits = registry_.options().limits,
                                              .etag = {}}));
  }

  // Of instances that are gone.
  void Folders() {
    for (const std::string& slot : NamesIn(names_.runtime())) {
      const std::string instance = names_.prefix() + slot;
      if (there_.contains(instance) || named_.contains(instance)) continue;
      auto info = engine_.Instance(instance, kAskLimit);
      if (info || info.error().code != CSB_E_NOT_FOUND) continue;
      const std::string key(names_.KeyIn(instance));
      // One that is about to be made has its folder already.
      if (key.empty()) {
        if (!HostAlive(names_.hosts(), std::string(HostOf(slot)))) registry_.launcher().RemoveSlot(instance);
        continue;
      }
      auto lock = registry_.Lock(key);
      if (!lock) continue;
      auto now = engine_.Instance(instance, kAskLimit);
      if (!now && now.error().code == CSB_E_NOT_FOUND) registry_.launcher().RemoveSlot(instance);
    }
  }

  // Of "pool-<host>-<n>".
  static std::string_view HostOf(std::string_view slot) {
    if (!slot.starts_with("pool-")) return {};
    slot.remove_prefix(5);
    return slot.substr(0, slot.find('-'));
  }

  const HostRef& host_;
  Registry& registry_;
  const Names& names_;
  Engine& engine_;
  std::string pool_;
  bool complete_ = false;
  std::map<std::string, std::string> named_;  // instances of records, and whose
  std::set<std::string> files_, there_;
};

}  // namespace

Status Sweep(const HostRef& host, Registry& registry) { return Sweeper(host, registry).Run(); }

}  // namespace csb::incus
