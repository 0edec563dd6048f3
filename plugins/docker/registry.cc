// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/registry.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/host_sockets.h"
#include "plugins/common/limit_text.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"

namespace csb::docker {
namespace {

// Time for `docker restart` by hand to start again what it stopped.
constexpr std::chrono::seconds kCleanDelay{10};
// After the last create: the user's first call, and a burst of other users, come before the pool.
constexpr std::chrono::milliseconds kRefillDelay{500};

// Somebody's doing, and no fault of the engine: users of other sandboxes are not to be kept away for it.
Error Paused(const std::string& container) {
  return {CSB_E_CONFLICT, "the container " + container + " is paused",
          "docker unpause " + container + "; what runs in it goes on then", true};
}

std::string SlotOf(const ContainerInfo& info) {
  const auto it = info.labels.find(kLabelSlot);
  return it == info.labels.end() ? std::string() : it->second;
}

}  // namespace

Registry::Registry(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
                   const std::string& host_id)
    : host_(host),
      reactor_(reactor),
      engine_(engine),
      options_(options),
      names_(names),
      launcher_(host, reactor, engine, options, names, host_id),
      pool_(host, launcher_, engine, options, names, host_id),
      line_(std::make_shared<Lifeline<Registry>>(this)) {
  pool_.SetLostHandler([line = line_](const SandboxPtr&, Loss) {
    line->With([](Registry& registry) { registry.InBackground([](Registry& r) { r.pool_.Check(); }); });
  });
}

Registry::~Registry() {
  line_->Close();
  pool_.Stop();
  line_->Cut();
  lost_.DetachAll();
  for (const auto& [user, sandbox] : by_user_) sandbox->Detach();
}

Result<FileLock> Registry::Lock(std::string_view name) const {
  if (Status s = MakeFolders(names_.locks(), 0711); !s) return s.error();
  return FileLock::Take(names_.Lock(name), {names_.Record(name)});
}

std::shared_ptr<Sandbox> Registry::Find(std::string_view user) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(user);
  return it == by_user_.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<Sandbox>> Registry::Attached() const {
  const std::lock_guard lock(mutex_);
  std::vector<SandboxPtr> out;
  for (const auto& [user, sandbox] : by_user_) out.push_back(sandbox);
  return out;
}

void Registry::Keep(const SandboxPtr& sandbox) {
  const std::lock_guard lock(mutex_);
  // It may have ended between the answer and now; Lost then found nothing to forget.
  if (!sandbox->over()) by_user_[sandbox->live().user] = sandbox;
}

void Registry::Forget(const SandboxPtr& sandbox) {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(sandbox->live().user);
  if (it != by_user_.end() && it->second == sandbox) by_user_.erase(it);
}

void Registry::InBackground(std::function<void(Registry&)> work) {
  const Status posted = host_.Post([line = line_, work = std::move(work)] { line->With(work); });
  // A host that shuts down takes no work; what is not cleaned up now is by the next host.
  if (!posted) host_.LogDebug("no work is taken any more: " + posted.error().message);
}

Sandbox::OnLost Registry::LostHandler() {
  return [line = line_](const SandboxPtr& sandbox, Loss loss) {
    line->With([&](Registry& registry) { registry.Lost(sandbox, loss); });
  };
}

// On the reactor's thread.
void Registry::Lost(const SandboxPtr& sandbox, Loss loss) {
  Forget(sandbox);
  const std::string user = sandbox->live().user, container = sandbox->live().container;
  if (user.empty()) return;  // still being made
  InBackground([lost = lost_.Add(sandbox), user, container, loss](Registry& registry) {
    const SandboxPtr sandbox = registry.lost_.Take(lost);
    if (!sandbox) return;
    const bool oom = sandbox->SawOom();
    sandbox->Detach();
    auto lock = registry.Lock(KeyOf(user));
    if (!lock) return registry.host_.LogWarn(lock.error().message);
    if (loss == Loss::kClosed) {
      // A stream says no more. One that goes on, or is about to end, is the next call's.
      auto info = registry.engine_.Inspect(container, kAskLimit);
      if (info && info->alive() && !oom) return registry.CleanLater(user);
      const bool took = info && (oom || info->oom_killed);
      return registry.AfterEnd(user, container, sandbox->live().pid, took);
    }
    if (loss == Loss::kBroken) {
      if (Status s = registry.launcher_.Remove(container, sandbox->live().slot); !s)
        registry.host_.LogWarn(s.error().message);
      return;
    }
    registry.AfterEnd(user, container, sandbox->live().pid, oom);
  });
}

// With the user's lock held.
void Registry::AfterEnd(const std::string& user, const std::string& container, pid_t pid, bool oom) {
  auto info = engine_.Inspect(container, kAskLimit);
  // The kernel told us before the daemon noticed; another pid is one that was started again by hand.
  if (info && info->alive() && info->pid == pid && engine_.WaitEnd(container, kAskLimit))
    info = engine_.Inspect(container, kAskLimit);
  if (!info || info->alive()) return;
  if (!oom) return CleanLater(user);
  const std::string name = KeyOf(user);
  auto record = RecordOf(user);
  if (!record) return CleanLater(user);
  host_.LogWarn("sandbox " + info->name + " ran out of memory as a whole (" + FormatSize(info->memory) +
                "): it is started again");
  if (Status s = launcher_.Remove(info->id, SlotOf(*info)); !s) return host_.LogWarn(s.error().message);
  auto again = MakeLocked(user, name, record->limits, record->image, {});
  if (!again) host_.LogWarn("sandbox " + info->name + " can't be started again: " + again.error().message);
}

void Registry::RefillLater() {
  if (!pool_.wanted()) return;
  const std::lock_guard lock(mutex_);
  if (refill_ != 0) reactor_.CancelTimer(refill_);
  refill_ = reactor_.At(Reactor::Clock::now() + kRefillDelay, [line = line_] {
    line->With([](Registry& registry) { registry.InBackground([](Registry& r) { r.pool_.Refill(); }); });
  });
}

void Registry::CleanLater(const std::string& user) {
  reactor_.At(Reactor::Clock::now() + kCleanDelay, [line = line_, user] {
    line->With(
        [&](Registry& registry) { registry.InBackground([user](Registry& r) { r.CleanDead(user); }); });
  });
}

void Registry::CleanDead(const std::string& user) {
  const std::string name = KeyOf(user);
  auto lock = Lock(name);
  if (!lock) return host_.LogWarn(lock.error().message);
  auto info = engine_.Inspect(names_.Container(name), kAskLimit);
  if (!info || info->alive()) return;
  if (auto attached = Find(user)) {
    Forget(attached);
    attached->Detach();
  }
  if (Status s = launcher_.Remove(info->id, SlotOf(*info)); !s) host_.LogWarn(s.error().message);
}

Result<std::shared_ptr<Sandbox>> Registry::AttachLocked(const std::string& user, const std::string& name) {
  if (auto attached = Find(user)) {
    if (attached->channel()) return attached;
    // Kept: what runs in it is answered once it goes on.
    if (attached->paused() && !attached->over()) {
      auto now = engine_.Inspect(attached->live().container, kAskLimit);
      if (!now && now.error().code != CSB_E_NOT_FOUND) return now.error();
      if (now && now->status == "paused") return Paused(attached->live().name);
      attached->SetPaused(false);  // an event was missed
      if (attached->channel()) return attached;
    }
    Forget(attached);
    attached->Detach();
  }
  auto info = engine_.Inspect(names_.Container(name), kAskLimit);
  if (!info && info.error().code == CSB_E_NOT_FOUND) return SandboxPtr();
  if (!info) return info.error();
  const auto installation = info->labels.find(kLabelInstallation);
  if (installation == info->labels.end() || installation->second != names_.installation())
    return Error{CSB_E_CONFLICT, "a container " + info->name + " that is not ours is in the way",
                 "docker rename it, or remove it", false};
  if (!info->alive()) {
    if (Status s = launcher_.Remove(info->id, SlotOf(*info)); !s) return s.error();
    return SandboxPtr();
  }
  if (info->status == "paused") return Paused(info->name);
  auto record = RecordOf(user);
  auto sandbox = launcher_.Attach(*info, user, record ? record->limits : options_.limits, LostHandler());
  if (sandbox) {
    // A record that was lost would have this one's files taken for nobody's.
    if (const std::string path = names_.Record(name); !Exists(path)) {
      Status s = MakeFolders(names_.records(), 0700);
      if (s)
        s = WriteRecord(
            path, {user, info->workspace_volume, info->workspace_volume.empty() ? info->workspace_source : "",
                   info->id, info->created, options_.image, (*sandbox)->live().limits});
      if (!s) host_.LogWarn(s.error().message);
    }
    Keep(*sandbox);
    return sandbox;
  }
  auto now = engine_.Inspect(info->id, kAskLimit);
  if (!now) return sandbox.error();
  if (now->status == "paused") return Paused(now->name);
  // Alive and mute: nobody can use it, and it holds the workspace.
  if (now->alive()) host_.LogWarn("sandbox " + info->name + " is ended: " + sandbox.error().message);
  if (Status s = launcher_.Remove(info->id, SlotOf(*info)); !s) return s.error();
  return SandboxPtr();
}

Result<std::shared_ptr<Sandbox>> Registry::Attach(const std::string& user) {
  const std::string name = KeyOf(user);
  const Error none{CSB_E_NO_SANDBOX, "no live sandbox of this user", "create one first", false};
  if (!Exists(names_.Record(name))) return none;
  auto lock = Lock(name);
  if (!lock) return lock.error();
  auto sandbox = AttachLocked(user, name);
  if (sandbox && *sandbox == nullptr) return none;
  return sandbox;
}

Result<std::string> Registry::AllowedImage(const json::Value& payload) const {
  const auto asked = json::GetString(payload, "image");
  if (!asked || *asked == options_.image) return options_.image;
  const std::string image(*asked);
  for (const std::string& allowed : options_.more_images)
    if (allowed == image || allowed == "*") return image;
  return Error{CSB_E_INVALID, "image: " + image + " is not offered here",
               "leave it out, or have the operator add it to docker.images", false};
}

Result<std::shared_ptr<Sandbox>> Registry::Create(const std::string& user, const json::Value& payload,
                                                  const Conversation& talk) {
  auto asked = ReadRequestedLimits(payload);
  if (!asked) return asked.error();
  auto image = AllowedImage(payload);
  if (!image) return image.error();
  Limits limits = options_.limits;
  limits.memory = asked->memory.value_or(limits.memory);
  limits.cpu = asked->cpu.value_or(limits.cpu);

  const std::string name = KeyOf(user);
  const Pool::Busy busy(pool_);
  auto lock = Lock(name);
  if (!lock) return lock.error();
  // Of a user without a record there is no container, unless the record was lost: the rename then finds it.
  if (Find(user) == nullptr && !MayHaveFiles(name)) {
    auto claimed = ClaimLocked(user, name, limits, *image);
    if (claimed ? *claimed != nullptr : claimed.error().code != CSB_E_CONFLICT) return claimed;
  }
  auto attached = AttachLocked(user, name);
  if (!attached) return attached.error();
  if (*attached == nullptr) return MakeLocked(user, name, limits, *image, talk);
  const Live& has = (*attached)->live();
  const auto conflict = [&](const char* member, const std::string& value) {
    return Error{CSB_E_CONFLICT, std::string(member) + ": the live sandbox has " + value,
                 "destroy the sandbox first (its files are kept), or leave it out", false};
  };
  if (asked->memory && has.limits.memory != limits.memory)
    return conflict("memory_limit", FormatSize(has.limits.memory));
  if (asked->cpu && has.limits.cpu != limits.cpu) return conflict("cpu_limit", FormatCores(has.limits.cpu));
  if (json::GetString(payload, "image"))
    if (auto record = RecordOf(user); record && record->image != *image)
      return conflict("image", record->image);
  return attached;
}

// A claim is written down before the container is renamed. Where the host was killed between the two, the
// container still has its pool's name: it is nobody's, and so is its workspace.
Status Registry::ForgetVoidClaim(const std::string& name, const Record& record) {
  if (record.container.empty()) return {};
  auto info = engine_.Inspect(record.container, kAskLimit);
  if (!info) return info.error().code == CSB_E_NOT_FOUND ? Status() : Status(info.error());
  if (!names_.IsPooled(info->name)) return {};
  if (unlink(names_.Record(name).c_str()) != 0 && errno != ENOENT)
    return Error{CSB_E_IO, "cannot remove " + names_.Record(name), "", false};
  return {};
}

Result<std::shared_ptr<Sandbox>> Registry::MakeLocked(const std::string& user, const std::string& name,
                                                      const Limits& limits, const std::string& image,
                                                      const Conversation& talk) {
  const std::string path = names_.Record(name);
  auto record = ReadRecord(path);
  if (record && record->user != user)
    return Error{CSB_E_INTERNAL, path + " belongs to another user", "remove it if that user is gone", false};
  if (!record && record.error().code != CSB_E_NOT_FOUND) return record.error();
  if (record) {
    if (Status s = ForgetVoidClaim(name, *record); !s) return s.error();
    if (!Exists(path)) record = Error{CSB_E_NOT_FOUND, "", "", false};
  }
  if (record) {
    record->limits = limits;
    record->image = image;
    pool_.MakeRoom();
    return LaunchLocked(name, *std::move(record), false, talk);
  }
  if (!MayHaveFiles(name)) {
    auto claimed = ClaimLocked(user, name, limits, image);
    if (!claimed || *claimed != nullptr) return claimed;
  }
  pool_.MakeRoom();
  Record fresh{user, "", "", "", Rfc3339Now(), image, limits};
  (names_.folders() ? fresh.folder : fresh.volume) =
      names_.folders() ? names_.Folder(name) : names_.Container(name);
  return LaunchLocked(name, std::move(fresh), true, talk);
}

// An empty record is what a power cut left of one: then there may be files. A folder that is there without a
// record has some, too: restored, or moved there from another service.
bool Registry::MayHaveFiles(const std::string& name) const {
  return Exists(names_.Record(name)) || (names_.folders() && Exists(names_.Folder(name)));
}

// Null: the pool had none that could be used.
Result<std::shared_ptr<Sandbox>> Registry::ClaimLocked(const std::string& user, const std::string& name,
                                                       const Limits& limits, const std::string& image) {
  for (;;) {
    auto pooled = pool_.Take(limits, image);
    if (pooled == nullptr) return SandboxPtr();
    const std::string path = names_.Record(name);
    const Record record{user,         pooled->volume, pooled->folder, pooled->sandbox->live().container,
                        Rfc3339Now(), image,          limits};
    Status done = MakeFolders(names_.records(), 0700);
    if (done) done = WriteRecord(path, record);
    // By its name: one that somebody else has renamed meanwhile is not found.
    if (done) done = engine_.Rename(pooled->container, names_.Container(name), kAskLimit);
    if (done) {
      pooled->sandbox->Claim(user, names_.Container(name), LostHandler());
      Keep(pooled->sandbox);
      InBackground([path](Registry& registry) {
        if (Status s = SyncFile(path); !s && Exists(path)) registry.host_.LogWarn(s.error().message);
      });
      RefillLater();
      return pooled->sandbox;
    }
    // While it may be there, perhaps with its new name, the record says whose it is.
    if (pool_.Discard(*pooled)) unlink(path.c_str());
    if (done.error().code != CSB_E_NOT_FOUND) return done.error();
  }
}

Result<std::shared_ptr<Sandbox>> Registry::LaunchLocked(const std::string& name, Record record, bool fresh,
                                                        const Conversation& talk) {
  const std::string path = names_.Record(name);
  const auto give_up = [&](const Error& error) {
    if (!fresh) return error;
    // Nothing of a failed first create stays behind.
    Status gone;
    if (!record.volume.empty()) gone = engine_.RemoveVolume(record.volume, kChangeLimit);
    if (!record.folder.empty()) rmdir(record.folder.c_str());
    if (gone)
      unlink(path.c_str());
    else
      host_.LogWarn(gone.error().message);
    return error;
  };
  Labels labels = launcher_.CommonLabels("sandbox");
  labels[kLabelUser] = record.user;
  if (fresh && !record.volume.empty()) {
    auto has = engine_.InspectVolume(record.volume, kAskLimit);
    if (!has && has.error().code != CSB_E_NOT_FOUND) return has.error();
    if (has) {
      const auto owner = has->find(kLabelUser);
      if (owner == has->end() || owner->second != record.user)
        return Error{CSB_E_CONFLICT, "the volume " + record.volume + " belongs to somebody else",
                     "docker volume inspect tells to whom", false};
      fresh = false;  // files of an earlier time, whose record was lost: they stay whatever happens
    }
  }
  if (Status s = MakeFolders(names_.records(), 0700); !s) return s.error();
  if (Status s = WriteRecord(path, record, !fresh); !s) return s.error();
  if (!record.volume.empty()) {
    auto has = engine_.CreateVolume(record.volume, labels, record.limits.disk, kChangeLimit);
    if (!has) return give_up(has.error());
  } else if (Status s = MakeFolders(record.folder, 0755); !s) {
    return give_up(s.error());
  }
  auto sandbox = launcher_.Launch({.container = names_.Container(name),
                                   .slot = name,
                                   .user = record.user,
                                   .image = record.image,
                                   .volume = record.volume,
                                   .folder = record.folder,
                                   .limits = record.limits,
                                   .labels = labels},
                                  talk, LostHandler());
  if (!sandbox) return give_up(sandbox.error());
  record.container = (*sandbox)->live().container;
  if (Status s = WriteRecord(path, record, !fresh); !s) host_.LogWarn(s.error().message);
  Keep(*sandbox);
  RefillLater();
  InBackground([path](Registry& registry) {
    // What has to outlive a power cut; nobody waits for the disk.
    if (Status s = SyncFile(path); !s && Exists(path)) registry.host_.LogWarn(s.error().message);
  });
  return sandbox;
}

Result<std::shared_ptr<Sandbox>> Registry::Restart(const std::string& user, const Conversation& talk) {
  const std::string name = KeyOf(user);
  const Pool::Busy busy(pool_);
  auto lock = Lock(name);
  if (!lock) return lock.error();
  auto record = RecordOf(user);
  if (!record) return record.error();
  if (auto stopped = StopLocked(user, name); !stopped) return stopped.error();
  return MakeLocked(user, name, record->limits, record->image, talk);
}

Result<bool> Registry::StopLocked(const std::string& user, const std::string& name) {
  std::string container, slot;
  bool alive = false;
  if (auto attached = Find(user)) {
    container = attached->live().container;
    slot = attached->live().slot;
    alive = !attached->over();
    Forget(attached);
    attached->Detach();
    // An engine removes in three quarters of the time what it need not have killed by its runtime.
    if (attached->Kill())
      if (Status s = engine_.WaitEnd(container, kAskLimit); !s) host_.LogDebug(s.error().message);
  } else {
    auto info = engine_.Inspect(names_.Container(name), kAskLimit);
    if (!info && info.error().code == CSB_E_NOT_FOUND) return false;
    if (!info) return info.error();
    container = info->id;
    slot = SlotOf(*info);
    alive = info->alive();
  }
  if (Status s = launcher_.Remove(container, slot); !s) return s.error();
  RefillLater();  // there may be room again
  return alive;
}

// Host processes that are connected: their sockets, or their bridges inside.
Result<int> Registry::HostsOf(const std::string& container, const std::string& slot, ChannelKind channel) {
  if (channel == ChannelKind::kSocket) return HostsAt(names_.Control(slot));
  auto commands = engine_.RootCommands(container, kAskLimit);
  if (!commands) return commands.error();
  return static_cast<int>(std::count_if(commands->begin(), commands->end(), [](const std::string& line) {
    return line.find(" --connect ") != std::string::npos;
  }));
}

// Whether a host process beside this one is connected. One that can't be told is.
bool Registry::UsedByOthers(const std::string& name, const SandboxPtr& attached) {
  Result<int> hosts{0};
  if (attached) {
    hosts = HostsOf(attached->live().container, attached->live().slot, attached->live().channel);
  } else {
    auto info = engine_.Inspect(names_.Container(name), kAskLimit);
    if (!info) return info.error().code != CSB_E_NOT_FOUND;
    if (info->status != "running") return false;
    const auto channel = info->labels.find(kLabelChannel);
    const bool exec = channel != info->labels.end() && channel->second == "exec";
    hosts = HostsOf(info->id, SlotOf(*info), exec ? ChannelKind::kExec : ChannelKind::kSocket);
  }
  return !hosts || *hosts > (attached ? 1 : 0);
}

Result<Registry::StopResult> Registry::Stop(const std::string& user, bool if_unused) {
  const std::string name = KeyOf(user);
  if (!Exists(names_.Record(name))) return StopResult::kNothing;
  auto lock = Lock(name);
  if (!lock) return lock.error();
  if (if_unused) {
    const auto attached = Find(user);
    if (UsedByOthers(name, attached)) {
      if (attached) {
        Forget(attached);
        attached->Detach();
      }
      return StopResult::kLeft;
    }
  }
  auto stopped = StopLocked(user, name);
  if (!stopped) return stopped.error();
  return *stopped ? StopResult::kStopped : StopResult::kNothing;
}

Result<Registry::Destroyed> Registry::Destroy(const std::string& user, bool purge) {
  const std::string name = KeyOf(user), path = names_.Record(name);
  Destroyed out;
  if (!Exists(path) && Find(user) == nullptr) return out;
  auto lock = Lock(name);
  if (!lock) return lock.error();
  auto record = ReadRecord(path);
  if (!record && record.error().code == CSB_E_NOT_FOUND) {
    // Another host process was faster, and its end may not be seen yet: the next create must not get it.
    if (Find(user) != nullptr)
      if (auto stopped = StopLocked(user, name); !stopped) return stopped.error();
    return out;
  }
  if (!record) return record.error();
  auto stopped = StopLocked(user, name);
  if (!stopped) return stopped.error();
  out.existed = true;
  out.files_remain = !purge;
  if (!purge) return out;
  if (!record->volume.empty())
    if (Status s = engine_.RemoveVolume(record->volume, kChangeLimit); !s) return s.error();
  if (!record->folder.empty()) {
    std::error_code error;
    std::filesystem::remove_all(record->folder, error);
    if (error)
      return Error{CSB_E_IO, "cannot remove " + record->folder + ": " + error.message(),
                   "its files belong to the sandbox's uid: a host without root can't remove them", false};
  }
  // Last: until then it says where files are.
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return Error{CSB_E_IO, "cannot remove " + path, "", false};
  return out;
}

Result<Record> Registry::RecordOf(const std::string& user) const {
  auto record = ReadRecord(names_.Record(KeyOf(user)));
  if (!record && record.error().code == CSB_E_NOT_FOUND)
    return Error{CSB_E_NOT_FOUND, "this user has no sandbox", "create one first", false};
  return record;
}

std::vector<Record> Registry::Records(bool* complete) const {
  std::vector<Record> out;
  bool all = true;
  std::error_code error;
  std::filesystem::directory_iterator entry(names_.records(), error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() != ".json") continue;  // one that is being written
    auto record = ReadRecord(entry->path());
    if (record && names_.Record(KeyOf(record->user)) == entry->path())
      out.push_back(*std::move(record));
    else
      all = all && !record && record.error().code == CSB_E_NOT_FOUND;
  }
  if (complete != nullptr) *complete = all && (!error || error == std::errc::no_such_file_or_directory);
  return out;
}

}  // namespace csb::docker
