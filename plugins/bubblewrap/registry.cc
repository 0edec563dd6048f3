// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/registry.h"

#include <dirent.h>

#include <set>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/bubblewrap/cleaner.h"
#include "plugins/common/host_sockets.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kReadyLimit{10'000};
constexpr milliseconds kAttachLimit{5'000};
constexpr milliseconds kShutdownGrace{500};

std::vector<std::string> FoldersIn(const std::string& parent) {
  std::vector<std::string> names;
  DIR* dir = opendir(parent.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(dir);
  return names;
}

}  // namespace

Registry::Registry(HostRef host, Reactor& reactor, const Options& options)
    : host_(host),
      reactor_(reactor),
      options_(options),
      builder_(host, options),
      line_(std::make_shared<Lifeline<Registry>>(this)) {}

Registry::~Registry() {
  line_->Cut();
  lost_.DetachAll();
  for (const auto& [user, sandbox] : by_user_) sandbox->Detach();
}

Paths Registry::PathsOf(std::string_view user) const {
  return Paths(options_.data_dir, options_.runtime_dir, EngineName(user));
}

Result<FileLock> Registry::Lock(const Paths& paths) const {
  if (Status s = MakeFolders(options_.runtime_dir, 0711); !s) return s.error();
  if (Status s = MakeFolders(options_.runtime_dir + "/locks", 0711); !s) return s.error();
  return FileLock::Take(paths.lock, {paths.live(), paths.data});
}

std::shared_ptr<Sandbox> Registry::Find(std::string_view user) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(user);
  return it == by_user_.end() ? nullptr : it->second;
}

void Registry::Forget(const SandboxPtr& sandbox) {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(sandbox->live().user);
  if (it != by_user_.end() && it->second == sandbox) by_user_.erase(it);
}

// On the reactor's thread.
void Registry::Ended(const SandboxPtr& sandbox) {
  Forget(sandbox);
  InBackground([lost = lost_.Add(sandbox)](Registry& registry) {
    const SandboxPtr sandbox = registry.lost_.Take(lost);
    if (!sandbox) return;
    const Paths paths = registry.PathsOf(sandbox->live().user);
    auto lock = registry.Lock(paths);
    if (!lock) return registry.host_.LogWarn(lock.error().message);
    // Somebody may have cleaned up and made a new one meanwhile.
    const auto live = ReadLiveRecord(paths.live());
    if (live && live->init == sandbox->live().init) registry.CleanLocked(paths);
    sandbox->Detach();
  });
}

void Registry::InBackground(std::function<void(Registry&)> work) {
  const Status posted = host_.Post([line = line_, work = std::move(work)] { line->With(work); });
  // A host that shuts down takes no work; what is not cleaned up now is by the next host.
  if (!posted) host_.LogDebug("no work is taken any more: " + posted.error().message);
}

Status Registry::BringUp(const Paths& paths, const SandboxPtr& sandbox, LiveRecord live, Pidfd init,
                         Pidfd monitor, int complaints) {
  const std::string user = live.user;
  const bool fresh = complaints >= 0;
  Status status = sandbox->Begin(std::move(live), std::move(init), std::move(monitor),
                                 [line = line_](const SandboxPtr& ended) {
                                   line->With([&](Registry& registry) { registry.Ended(ended); });
                                 });
  if (status) status = sandbox->WaitReady(fresh ? kReadyLimit : kAttachLimit);
  if (!status) {
    Error error = status.error();
    if (fresh)
      if (const std::string said = ReadComplaints(complaints); !said.empty()) error.message += ": " + said;
    sandbox->Detach();
    return error;
  }
  sandbox->set_enforced(ReadEnforced(sandbox->live(), builder_.cgroups().missing));
  const std::lock_guard lock(mutex_);
  // It may have ended between the answer and now; Ended then found nothing to forget.
  if (!sandbox->ended()) by_user_[user] = sandbox;
  (void)paths;
  return {};
}

Result<std::shared_ptr<Sandbox>> Registry::AttachLocked(const Paths& paths) {
  auto live = ReadLiveRecord(paths.live());
  if (!live) {
    if (live.error().code == CSB_E_NOT_FOUND) return SandboxPtr();
    host_.LogWarn(live.error().message);
    CleanLocked(paths);
    return SandboxPtr();
  }
  if (auto attached = Find(live->user); attached && attached->live().init == live->init) {
    if (attached->channel() && !attached->ended()) return attached;
    attached->End(kShutdownGrace);
    Forget(attached);
  }
  Pidfd init = OpenSame(live->init);
  if (!init) {
    CleanLocked(paths);
    return SandboxPtr();
  }
  auto sandbox = Sandbox::Listen(host_, reactor_, paths.name, paths.control(), live->uids);
  if (!sandbox) return sandbox.error();
  const Status up = BringUp(paths, *sandbox, *live, std::move(init), OpenSame(live->monitor), -1);
  if (up) return *sandbox;
  // Alive and mute: nobody can use it, and it holds the workspace.
  host_.LogWarn("sandbox " + paths.name + " is ended: " + up.error().message);
  CleanLocked(paths);
  return SandboxPtr();
}

Result<std::shared_ptr<Sandbox>> Registry::Attach(const std::string& user) {
  const Paths paths = PathsOf(user);
  const Error none{CSB_E_NO_SANDBOX, "no live sandbox of this user", "create one first", false};
  if (!Exists(paths.live())) return none;
  auto lock = Lock(paths);
  if (!lock) return lock.error();
  auto sandbox = AttachLocked(paths);
  if (sandbox && *sandbox == nullptr) return none;
  return sandbox;
}

Result<std::shared_ptr<Sandbox>> Registry::MakeLocked(const Paths& paths, const std::string& user,
                                                      const Limits& limits) {
  bool fresh = false;
  const bool had_files = Exists(paths.data);
  auto record = builder_.PrepareData(paths, user, &fresh);
  const auto give_up = [&](const Error& error) {
    CleanLocked(paths);
    // Nothing of a failed first create stays behind.
    if (!had_files && record && RemoveTree(paths.data)) builder_.ReleaseUids(paths.name, record->uids);
    return error;
  };
  if (!record) return give_up(record.error());
  if (Status s = builder_.PrepareRuntime(paths, record->uids); !s) return give_up(s.error());
  auto sandbox = Sandbox::Listen(host_, reactor_, paths.name, paths.control(), record->uids);
  if (!sandbox) return give_up(sandbox.error());
  Launched launched;
  auto live = builder_.Launch(paths, *record, limits, &launched);
  Status status = live ? Status() : Status(live.error());
  if (status && fresh) status = WriteUserRecord(paths.record(), *record);
  if (status)
    status = BringUp(paths, *sandbox, *live, std::move(launched.init_fd), std::move(launched.monitor_fd),
                     launched.complaints.get());
  if (status) {
    InBackground([fresh, path = paths.record()](Registry& registry) {
      // What has to outlive a power cut; nobody waits for the disk.
      if (fresh)
        if (Status s = SyncFile(path); !s && Exists(path)) registry.host_.LogWarn(s.error().message);
      registry.builder_.pool().Refill();
    });
    return *sandbox;
  }
  (*sandbox)->Detach();
  return give_up(status.error());
}

Result<std::shared_ptr<Sandbox>> Registry::CreateLocked(const Paths& paths, const std::string& user,
                                                        const Limits& limits, const json::Value& payload) {
  auto attached = AttachLocked(paths);
  if (!attached) return attached.error();
  if (*attached == nullptr) return MakeLocked(paths, user, limits);
  const Limits& has = (*attached)->live().limits;
  const auto conflict = [&](const char* member, const std::string& value) {
    return Error{CSB_E_CONFLICT, std::string(member) + ": the live sandbox has " + value,
                 "destroy the sandbox first (its files are kept), or leave the limit out", false};
  };
  if (json::Find(payload, "memory_limit") != nullptr && has.memory != limits.memory)
    return conflict("memory_limit", FormatSize(has.memory));
  if (json::Find(payload, "cpu_limit") != nullptr && has.cpu != limits.cpu)
    return conflict("cpu_limit", FormatCores(has.cpu));
  return attached;
}

Result<std::shared_ptr<Sandbox>> Registry::Create(const std::string& user, const json::Value& payload) {
  const Paths paths = PathsOf(user);
  Limits limits = options_.limits;
  if (Status s = ApplyRequestedLimits(payload, &limits); !s) return s.error();
  auto lock = Lock(paths);
  if (!lock) return lock.error();
  return CreateLocked(paths, user, limits, payload);
}

Result<std::shared_ptr<Sandbox>> Registry::Restart(const std::string& user) {
  const Paths paths = PathsOf(user);
  auto lock = Lock(paths);
  if (!lock) return lock.error();
  Limits limits = options_.limits;
  if (const auto live = ReadLiveRecord(paths.live())) {
    limits = live->limits;
  } else if (!Exists(paths.record())) {
    return Error{CSB_E_NOT_FOUND, "this user has no sandbox", "create one first", false};
  }
  if (auto stopped = StopLocked(paths); !stopped) return stopped.error();
  return MakeLocked(paths, user, limits);
}

Result<bool> Registry::StopLocked(const Paths& paths) {
  const auto live = ReadLiveRecord(paths.live());
  if (!live && live.error().code == CSB_E_NOT_FOUND) return false;
  bool alive = false;
  if (live) {
    const Pidfd init = OpenSame(live->init);
    alive = static_cast<bool>(init);
    if (auto attached = Find(live->user); attached && attached->live().init == live->init) {
      attached->End(kShutdownGrace);
      Forget(attached);
      attached->Detach();
    }
  }
  CleanLocked(paths);
  return alive;
}

Result<Registry::StopResult> Registry::Stop(const std::string& user, bool if_unused) {
  const Paths paths = PathsOf(user);
  if (!Exists(paths.live())) return StopResult::kNothing;
  auto lock = Lock(paths);
  if (!lock) return lock.error();
  if (if_unused) {
    const auto attached = Find(user);
    if (HostsAt(paths.control()) > (attached ? 1 : 0)) {
      if (attached) {
        Forget(attached);
        attached->Detach();
      }
      return StopResult::kLeft;
    }
  }
  auto stopped = StopLocked(paths);
  if (!stopped) return stopped.error();
  return *stopped ? StopResult::kStopped : StopResult::kNothing;
}

Result<Registry::Destroyed> Registry::Destroy(const std::string& user, bool purge) {
  const Paths paths = PathsOf(user);
  Destroyed out;
  if (!Exists(paths.live()) && !Exists(paths.record())) return out;
  auto lock = Lock(paths);
  if (!lock) return lock.error();
  auto stopped = StopLocked(paths);
  if (!stopped) return stopped.error();
  const bool files = Exists(paths.record());
  out.existed = *stopped || files;
  out.files_remain = files && !purge;
  if (!purge || !files) return out;
  const auto record = ReadUserRecord(paths.record());
  if (Status s = RemoveTree(paths.data); !s) return s.error();
  // Last: until then the uids still own files.
  if (record) builder_.ReleaseUids(paths.name, record->uids);
  return out;
}

void Registry::CleanLocked(const Paths& paths) {
  Cleaner cleaner(host_, paths);
  cleaner.Clean();
}

std::optional<LiveRecord> Registry::Live(const std::string& user) const {
  auto live = ReadLiveRecord(PathsOf(user).live());
  if (!live || live->user != user || !OpenSame(live->init)) return std::nullopt;
  return *std::move(live);
}

Result<UserRecord> Registry::Stopped(const std::string& user) const {
  auto record = ReadUserRecord(PathsOf(user).record());
  if (!record && record.error().code == CSB_E_NOT_FOUND)
    return Error{CSB_E_NOT_FOUND, "this user has no sandbox", "", false};
  return record;
}

std::vector<std::string> Registry::Users() const {
  std::set<std::string> users;
  for (const std::string& name : FoldersIn(options_.data_dir))
    if (auto record = ReadUserRecord(Paths(options_.data_dir, options_.runtime_dir, name).record()))
      if (EngineName(record->user) == name) users.insert(record->user);
  for (const std::string& name : FoldersIn(options_.runtime_dir))
    if (auto live = ReadLiveRecord(Paths(options_.data_dir, options_.runtime_dir, name).live()))
      if (EngineName(live->user) == name) users.insert(live->user);
  return {users.begin(), users.end()};
}

void Registry::Sweep() {
  builder_.pool().Sweep();
  for (const std::string& name : FoldersIn(options_.runtime_dir)) {
    const Paths paths(options_.data_dir, options_.runtime_dir, name);
    const auto live = ReadLiveRecord(paths.live());
    if (!live || OpenSame(live->init)) continue;
    auto lock = Lock(paths);
    if (!lock) continue;
    // Again under the lock: a create may have been under way.
    const auto now = ReadLiveRecord(paths.live());
    if (now && !OpenSame(now->init)) CleanLocked(paths);
  }
}

}  // namespace csb::bwrap
