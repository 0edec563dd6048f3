// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/builder.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "plugins/bubblewrap/launch/request.h"
#include "plugins/bubblewrap/network.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/seccomp_program.h"
#include "plugins/common/small_file.h"
#include "plugins/common/user_environment.h"

namespace csb::bwrap {
namespace {

constexpr uint64_t kMostTmp = 1 << 30;
constexpr uint64_t kOpenFiles = 65'536;

// Folders that no sandbox may list but whose parts its uids reach.
Status MakeRoots(const Options& options) {
  for (const std::string& folder : {options.data_dir, options.runtime_dir, options.runtime_dir + "/locks"})
    if (Status s = MakeFolders(folder, 0711); !s) return s;
  return MakeFolders(options.state_dir, 0711);
}

}  // namespace

Builder::Builder(HostRef host, const Options& options)
    : host_(host),
      options_(options),
      templates_(options.state_dir + "/templates"),
      uids_(options.state_dir + "/uids", options.uids) {}

Builder::~Builder() {
  pool_.reset();
  RemoveCgroupParent(cgroups_);
}

const CgroupParent& Builder::cgroups() {
  std::call_once(cgroups_once_, [this] { cgroups_ = FindCgroupParent(ReadCgroupView()); });
  return cgroups_;
}

bool Builder::bounds_processes() const {
  return options_.uids.count > 0 || access("/usr/bin/prlimit", X_OK) == 0;
}

std::string Builder::images_missing() {
  std::call_once(images_once_, [this] { images_missing_ = ImagesPossible(); });
  return images_missing_;
}

LaunchPool& Builder::pool() {
  std::call_once(pool_once_, [this] {
    auto filter = seccomp();
    pool_ = std::make_unique<LaunchPool>(host_, options_.launcher, filter, cgroups());
  });
  return *pool_;
}

Result<std::string> Builder::seccomp() {
  std::call_once(seccomp_once_, [this] { seccomp_ = SeccompProgram(); });
  return seccomp_;
}

void Builder::Warm() {
  cgroups();
  pool().Refill();
  if (options_.limits.disk == 0 || !images_missing().empty() || options_.uids.count == 0) return;
  if (Status s = MakeRoots(options_); !s) return host_.LogWarn(s.error().message);
  if (Status s = templates_.Prepare(options_.limits.disk / 4096 * 4096); !s) host_.LogWarn(s.error().message);
}

Result<UserRecord> Builder::PrepareData(const Paths& paths, const std::string& user, bool* fresh) {
  *fresh = false;
  auto record = ReadUserRecord(paths.record());
  if (record) {
    if (record->user != user)
      return Error{CSB_E_INTERNAL, paths.record() + " belongs to another user",
                   "remove it if that user is gone", false};
    if (record->image == 0 || Exists(paths.image())) return record;
  } else if (record.error().code != CSB_E_NOT_FOUND) {
    return record.error();
  }
  *fresh = true;
  if (Status s = MakeRoots(options_); !s) return s.error();
  UserRecord made{user, {}, Rfc3339Now(), 0};
  if (options_.uids.count > 0) {
    auto pair = uids_.Claim(paths.name);
    if (!pair) return pair.error();
    made.uids = *pair;
  }
  if (Status s = MakeFolders(paths.data, 0711); !s) return s.error();
  RemoveUnfinished(paths.record());
  RemoveUnfinished(paths.image());
  if (options_.limits.disk > 0 && made.uids.user != 0 && images_missing().empty()) {
    if (Status s = templates_.Make(paths.image(), options_.limits.disk); !s) return s.error();
    made.image = options_.limits.disk / 4096 * 4096;
    return made;
  }
  if (Status s = MakeFolders(paths.workspace(), 0700); !s) return s.error();
  // Ours alone until now: the parent is no sandbox's.
  if (made.uids.user != 0 && lchown(paths.workspace().c_str(), made.uids.user, made.uids.user) != 0)
    return ErrnoError("chown", paths.workspace());
  return made;
}

Status Builder::PrepareRuntime(const Paths& paths, const UidPair& uids) {
  if (Status s = MakeFolders(paths.runtime, 0711); !s) return s;
  if (Status s = MakeFolders(paths.control(), 0750); !s) return s;
  if (uids.agent != 0 && lchown(paths.control().c_str(), 0, uids.agent) != 0)
    return ErrnoError("chown", paths.control());
  return {};
}

Result<EtcFolder> Builder::Etc(const Limits& limits) {
  EtcOptions etc{.network = limits.network != Network::kNone, .resolv_conf = ""};
  if (limits.network == Network::kPasta) etc.resolv_conf = PastaResolvConf();
  // With a network it holds what the host's resolver says today; without, only the libraries change it.
  struct stat libraries {};
  const bool keep = !etc.network && stat("/etc/ld.so.cache", &libraries) == 0;
  const std::lock_guard lock(etc_mutex_);
  if (keep && etc_ && etc_made_of_ == std::pair(libraries.st_ino, libraries.st_mtim.tv_sec) &&
      Exists(etc_->folder))
    return *etc_;
  auto made = MakeEtcFolder(options_.runtime_dir, etc);
  if (made && keep) {
    etc_ = *made;
    etc_made_of_ = {libraries.st_ino, libraries.st_mtim.tv_sec};
  }
  return made;
}

SandboxView Builder::View(const Paths& paths, const Limits& limits, const EtcFolder& etc,
                          bool separate) const {
  SandboxView view;
  view.bwrap = options_.bwrap;
  view.separate_uids = separate;
  view.agent = separate ? launch::kStagedAgent : options_.agent;
  view.control = separate ? launch::kStagedControl : paths.control();
  view.etc = separate ? launch::kStagedEtc : etc.folder;
  view.workspace = separate ? launch::kStagedWorkspace : paths.workspace();
  view.network_namespace = limits.network != Network::kHost;
  view.etc_binds = etc.binds;
  if (!separate && limits.pids > 0 && bounds_processes()) view.processes = limits.pids;
  view.tmp_bytes = options_.tmp_bytes;
  if (view.tmp_bytes == 0)
    view.tmp_bytes = limits.memory == 0 ? kMostTmp : std::min(kMostTmp, limits.memory / 2);
  view.agent_options = {"--idle-timeout", std::to_string(options_.idle_timeout), "--python", options_.python};
  view.agent_options.insert(view.agent_options.end(), options_.python_options.begin(),
                            options_.python_options.end());
  for (const std::string& variable : UserEnvironment()) {
    view.agent_options.push_back("--env");
    view.agent_options.push_back(variable);
  }
  if (limits.network == Network::kPasta) {
    view.set_routes = true;
    view.wait_for_host = true;
    view.agent_options.push_back("--block-routes");
    view.agent_options.push_back(options_.blocked_ranges);
  }
  return view;
}

std::vector<RlimitSpec> Builder::Rlimits(const Limits& limits, bool image) {
  std::vector<RlimitSpec> out = {{RLIMIT_CORE, 0, 0}, {RLIMIT_NOFILE, 1024, kOpenFiles}};
  const bool separate = options_.uids.count > 0;
  // Below the group's bound, so that the agent can still fork when user code can't. With one uid it is set
  // inside (View), since here the host user's other processes would count too.
  if (separate && limits.pids > 0) out.push_back({RLIMIT_NPROC, limits.pids, limits.pids});
  if (!image && limits.disk > 0) out.push_back({RLIMIT_FSIZE, limits.disk, limits.disk});
  // Not the address space: node, Java and Go reserve far more of that than they use.
  if (!cgroups().memory && limits.memory > 0) out.push_back({RLIMIT_DATA, limits.memory, limits.memory});
  return out;
}

Result<LiveRecord> Builder::Launch(const Paths& paths, const UserRecord& record, const Limits& limits,
                                   Launched* launched) {
  if (limits.network == Network::kPasta && record.uids.user == 0)
    return Error{CSB_E_UNSUPPORTED,
                 "network=pasta: code and agent share one uid, so that routes would not hold",
                 "run the host as root, or set bubblewrap.network=none", false};
  LiveRecord live{record.user, record.uids, limits, Rfc3339Now(), record.image, {}, {}, {}, {}};
  if (record.image > 0) live.limits.disk = record.image;  // as it was when the workspace was made
  auto etc = Etc(limits);
  if (!etc) return etc.error();
  auto parked = pool().Take();
  if (!parked) return parked.error();
  live.cgroup = parked->group;
  // Written down first: from here on the cleaner finds the group.
  if (Status s = WriteLiveRecord(paths.live(), live); !s) return s.error();
  if (Status s = live.cgroup.SetLimits(limits); !s) return s.error();

  const bool separate = record.uids.user != 0;
  const SandboxView view = View(paths, limits, *etc, separate);
  LaunchSpec spec;
  spec.command = BwrapCommand(view);
  if (separate) spec.uids = record.uids;
  spec.agent = options_.agent;
  spec.control = paths.control();
  spec.etc = etc->folder;
  spec.workspace = paths.workspace();
  if (record.image > 0) spec.image = paths.image();
  spec.rlimits = Rlimits(limits, record.image > 0);
  if (limits.network == Network::kPasta)
    spec.before_command = [&](pid_t init) -> Status {
      auto pasta = StartPasta({options_.pasta, options_.launcher}, init, record.uids);
      if (pasta) live.pasta = *pasta;
      return pasta ? Status() : Status(pasta.error());
    };
  auto started = parked->slot.Go(spec);
  if (!started) return started.error();
  if (auto id = Identify(started->monitor)) live.monitor = *id;
  if (auto id = Identify(started->init)) live.init = *id;
  *launched = std::move(*started);
  if (Status s = WriteLiveRecord(paths.live(), live); !s) return s.error();
  return live;
}

void Builder::ReleaseUids(const std::string& name, const UidPair& uids) {
  if (options_.uids.count == 0) return;
  if (Status s = uids_.Release(name, uids); !s) host_.LogWarn(s.error().message);
}

}  // namespace csb::bwrap
