// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/sweeper.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <vector>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/installation.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"
#include "plugins/docker/agent_volume.h"

namespace csb::docker {
namespace {

std::string LabelOf(const Labels& labels, const char* key) {
  const auto it = labels.find(key);
  return it == labels.end() ? std::string() : it->second;
}

// Names of what is in a folder; one that can't be read has nothing.
std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename());
  return names;
}

// A folder is made a moment before its container.
constexpr std::chrono::minutes kMakingLimit{5};

bool OlderThan(const std::string& path, std::chrono::minutes age) {
  std::error_code error;
  const auto written = std::filesystem::last_write_time(path, error);
  return !error && std::filesystem::file_time_type::clock::now() - written > age;
}

class Sweeper {
 public:
  Sweeper(const HostRef& host, Registry& registry)
      : host_(host), registry_(registry), names_(registry.names()), engine_(registry.engine()) {}

  Status Run() {
    // Before anything is listed: a host that dies meanwhile has had users whom these lists do not show.
    for (const std::string& id : NamesIn(names_.hosts()))
      if (HostAlive(names_.hosts(), id)) alive_.insert(id);
    auto containers = engine_.List(names_.InstallationFilter(), kAskLimit);
    if (!containers) return containers.error();
    auto volumes = engine_.Volumes(names_.InstallationFilter(), kAskLimit);
    if (!volumes) return volumes.error();
    for (const ListedContainer& container : *containers) {
      if (!Container(container)) continue;
      mounted_.insert(container.volumes.begin(), container.volumes.end());
      slots_.insert(LabelOf(container.labels, kLabelSlot));
    }
    for (const ListedVolume& volume : *volumes) {
      volumes_.insert(volume.name);
      Adopt(volume);
    }
    Unfinished();
    Records();
    for (const ListedVolume& volume : *volumes) Orphan(volume);
    Folders();
    return {};
  }

 private:
  void Complain(const Status& status) {
    if (!status) host_.LogWarn(status.error().message);
  }

  bool Alive(const std::string& host) { return alive_.contains(host) || HostAlive(names_.hosts(), host); }

  // Whether a record says that a user's files are there; asked of what belongs to a dead host, which writes
  // none.
  bool IsAUsers(const std::string& workspace) {
    bool complete = false;
    for (const Record& record : registry_.Records(&complete))
      if (record.volume == workspace || record.folder == workspace) return true;
    return !complete;
  }

  // True: it stays.
  bool Container(const ListedContainer& c) {
    const std::string kind = LabelOf(c.labels, kLabelKind), slot = LabelOf(c.labels, kLabelSlot);
    if (names_.IsPooled(c.name)) {
      if (Alive(LabelOf(c.labels, kLabelHost))) return true;
      auto now = engine_.Inspect(c.id, kAskLimit);
      if (!now || !names_.IsPooled(now->name)) return static_cast<bool>(now);
      ForgetClaims(c.id);
      Complain(registry_.launcher().Remove(c.id, slot));
      return false;
    }
    const std::string_view name = names_.NameOf(c.name);
    // Made to find something out, or to fill a volume; they take milliseconds.
    if (kind == "probe" || kind == "agent") {
      if (Alive(LabelOf(c.labels, kLabelHost))) return true;
      Complain(registry_.launcher().Remove(c.id, slot));
      return false;
    }
    if (name.empty() || c.status == "running" || c.status == "paused" || c.status == "restarting")
      return true;
    // Under the lock: another host may be making it right now.
    auto lock = registry_.Lock(name);
    if (!lock) return true;
    auto now = engine_.Inspect(c.id, kAskLimit);
    if (!now || now->alive()) return static_cast<bool>(now);
    const Status removed = registry_.launcher().Remove(c.id, slot);
    Complain(removed);
    return !removed;
  }

  // A user's claim of a container that still has its pool's name was never answered.
  void ForgetClaims(const std::string& container) {
    for (const Record& record : registry_.Records()) {
      if (record.container != container) continue;
      const std::string name = KeyOf(record.user);
      auto lock = registry_.Lock(name);
      if (!lock) continue;
      auto now = ReadRecord(names_.Record(name));
      if (now && now->container == container) unlink(names_.Record(name).c_str());
    }
  }

  // Files of a user whose record is lost: the label has the exact id.
  void Adopt(const ListedVolume& volume) {
    const std::string user = LabelOf(volume.labels, kLabelUser);
    if (user.empty() || !CheckUserId(user)) return;
    const std::string name = KeyOf(user), path = names_.Record(name);
    const auto missing = [&] {
      auto record = ReadRecord(path);
      return !record && record.error().code == CSB_E_NOT_FOUND;  // or empty, as a power cut leaves one
    };
    if (names_.Container(name) != volume.name || !missing()) return;
    auto lock = registry_.Lock(name);
    if (!lock || !missing() || !engine_.InspectVolume(volume.name, kAskLimit)) return;
    Complain(MakeFolders(names_.records(), 0700));
    Complain(WriteRecord(path, {user, volume.name, "", "", Rfc3339Now(), "", registry_.options().limits}));
  }

  // What a host that was killed while it wrote a record left beside it.
  void Unfinished() {
    std::set<std::string> names;
    for (const std::string& file : NamesIn(names_.records())) {
      if (const size_t end = file.find(".json."); end != std::string::npos) names.insert(file.substr(0, end));
    }
    for (const std::string& name : names)
      if (auto lock = registry_.Lock(name)) RemoveUnfinished(names_.Record(name));
  }

  // Of a create that was killed before there was anything to keep.
  void Records() {
    bool complete = false;
    const std::vector<Record> records = registry_.Records(&complete);
    if (!complete)
      host_.LogWarn("not all records in " + names_.records() +
                    " can be read: workspaces that seem to be nobody's are kept");
    for (const Record& record : records) {
      const std::string name = KeyOf(record.user);
      if (record.volume.empty() ? Exists(record.folder) : volumes_.contains(record.volume)) continue;
      auto lock = registry_.Lock(name);
      if (!lock) continue;
      auto now = ReadRecord(names_.Record(name));
      // One that has had a container had files: they may be on an engine or a disk that is not there today.
      if (!now || !now->container.empty()) continue;
      if (!now->volume.empty()) {
        auto volume = engine_.InspectVolume(now->volume, kAskLimit);
        if (volume || volume.error().code != CSB_E_NOT_FOUND) continue;
      } else if (Exists(now->folder)) {
        continue;
      }
      auto container = engine_.Inspect(names_.Container(name), kAskLimit);
      if (container || container.error().code != CSB_E_NOT_FOUND) continue;
      unlink(names_.Record(name).c_str());
    }
  }

  // An empty workspace of a pool whose host is dead, or an agent of another version.
  void Orphan(const ListedVolume& volume) {
    const std::string kind = LabelOf(volume.labels, kLabelKind);
    if (mounted_.contains(volume.name)) return;
    if (kind == "pool" && Alive(LabelOf(volume.labels, kLabelHost))) return;
    if (kind != "pool" && kind != "agent") return;
    // The next exec channel wants it, perhaps at this moment.
    if (kind == "agent" && volume.name == AgentVolumeName(names_, registry_.options().agent)) return;
    // That of a claimed one is known by its record alone.
    if (kind == "pool" && IsAUsers(volume.name)) return;
    // In use by what came meanwhile: the engine refuses.
    if (Status s = engine_.RemoveVolume(volume.name, kChangeLimit); !s) host_.LogDebug(s.error().message);
  }

  // Folders of containers that are gone; a slot is a user's name, or pool-HOST-N.
  void Folders() {
    for (const std::string& slot : NamesIn(names_.runtime())) {
      if (slots_.contains(slot)) continue;
      if (const std::string host(MakerOf(slot, "pool")); !host.empty()) {
        // Of a living host: one that is being made, or one whose user's host was killed while it removed it.
        if (!Alive(host) || OlderThan(names_.Slot(slot), kMakingLimit)) registry_.launcher().RemoveSlot(slot);
        continue;
      }
      if (const std::string host(MakerOf(slot, "probe")); !host.empty()) {
        if (!Alive(host)) registry_.launcher().RemoveSlot(slot);
        continue;
      }
      if (slot.size() != 32) continue;  // no user's
      auto lock = registry_.Lock(slot);
      if (!lock) continue;
      auto info = engine_.Inspect(names_.Container(slot), kAskLimit);
      if (!info && info.error().code == CSB_E_NOT_FOUND) registry_.launcher().RemoveSlot(slot);
    }
    if (!names_.folders()) return;
    for (const std::string& slot : NamesIn(names_.data())) {
      const std::string folder = names_.Folder(slot), host(MakerOf(slot, "pool"));
      if (host.empty() || Alive(host) || IsAUsers(folder)) continue;
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  }

  const HostRef& host_;
  Registry& registry_;
  const Names& names_;
  Engine& engine_;
  std::set<std::string> alive_, mounted_, slots_, volumes_;
};

}  // namespace

Status Sweep(const HostRef& host, Registry& registry) { return Sweeper(host, registry).Run(); }

}  // namespace csb::docker
