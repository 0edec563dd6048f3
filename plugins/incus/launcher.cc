// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/launcher.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "plugins/common/host_cgroup.h"
#include "plugins/common/readback.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/exec_stream.h"
#include "plugins/incus/inside.h"
#include "plugins/incus/is_init.h"
#include "plugins/incus/storage.h"

namespace csb::incus {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kReadyLimit{15'000};
constexpr milliseconds kAttachLimit{5'000};
constexpr milliseconds kVmLimit{300'000};      // a machine boots, under emulation too
constexpr milliseconds kVmStartLimit{60'000};  // of the agent in it
constexpr milliseconds kSilence{2'000};  // of a stream with work on it, until it is asked for a sign of life

// What a compressed image is on disk at most, as long as nobody has looked: the pool counts it in the root's
// size.
constexpr uint64_t kUnpacked = 4;

constexpr int kPushes = 3;      // of the agent into a machine, once more
constexpr int kAddresses = 20;  // that are tried

// A folder of ours that the engine does not see.
bool SeesNoFolders(const Error& error) {
  return error.message.find("Missing source path") != std::string::npos;
}

bool LacksVolume(const Error& error) {
  return error.message.find("torage volume not found") != std::string::npos;
}

}  // namespace

Launcher::Launcher(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
                   std::string host_id, std::string machine)
    : host_(host),
      reactor_(reactor),
      engine_(engine),
      options_(options),
      names_(names),
      host_id_(std::move(host_id)),
      machine_(std::move(machine)),
      tools_(options, names),
      networks_(host, engine, options, names) {}

EngineWords Launcher::Words() const {
  return {.kind = options_.vm ? "virtual machine" : "instance",
          .unpause = "incus resume ",
          .oom_hint =
              "raise INCUS_SANDBOX_MEMORY (incus.memory, or memory_limit of create), use less memory, "
              "or work in chunks",
          .channel_hint =
              "the machine may be overloaded: try again; or set incus.channel=exec, if the engine "
              "does not see this machine's folders or processes"};
}

Config Launcher::CommonLabels(const std::string& kind) const {
  return {{kKeyInstallation, names_.installation()}, {kKeyKind, kind}};
}

Result<ChannelKind> Launcher::Channel() {
  if (options_.channel) return *options_.channel;
  // Beside an image's own init the agent is not the process that is let in at a socket.
  if (options_.vm || options_.boot == Boot::kImage || !Local()) return ChannelKind::kExec;
  auto info = engine_.Info(kAskLimit);
  if (!info) return info.error();
  // In a cluster any member may have it, and any host may serve it.
  if (info->clustered) return ChannelKind::kExec;
  const std::lock_guard lock(mutex_);
  return channel_.value_or(ChannelKind::kSocket);
}

Result<PoolInfo> Launcher::Storage() {
  {
    const std::lock_guard lock(mutex_);
    if (storage_) return *storage_;
  }
  auto found = ChoosePool(engine_, options_.pool);
  if (!found) return found;
  const std::lock_guard lock(mutex_);
  storage_ = *found;
  return found;
}

Result<ResolvedImage> Launcher::FindImage(const std::string& name) {
  auto ref = ParseImage(name, options_.remote);
  if (!ref) return ref.error();
  const std::string type = options_.vm ? "virtual-machine" : "container";
  return ResolveImage(engine_, *ref, type, name);
}

Result<std::shared_ptr<Sandbox>> Launcher::Launch(const Wanted& wanted, const Conversation& talk,
                                                  Sandbox::OnLost on_lost) {
  auto image = FindImage(wanted.image);
  if (!image) return image.error();
  if (!image->ref.local) talk.progress("the server fetches " + wanted.image + " unless it has it");
  auto channel = Channel();
  if (!channel) return channel.error();
  bool no_folders = false;
  auto sandbox = LaunchOn(*channel, *image, wanted, talk, on_lost, &no_folders);
  if (sandbox || !no_folders || options_.channel) return sandbox;
  host_.LogInfo("Incus does not see this machine's folders: sandboxes are reached through exec streams");
  {
    const std::lock_guard lock(mutex_);
    channel_ = ChannelKind::kExec;
  }
  return LaunchOn(ChannelKind::kExec, *image, wanted, talk, on_lost, &no_folders);
}

Result<std::shared_ptr<Sandbox>> Launcher::LaunchOn(ChannelKind channel, const ResolvedImage& image,
                                                    const Wanted& wanted, const Conversation& talk,
                                                    const Sandbox::OnLost& on_lost, bool* no_folders) {
  const std::string slot(names_.SlotOf(wanted.instance));
  InstanceSpec spec;
  spec.name = wanted.instance;
  spec.image = image.ref;
  spec.limits = wanted.limits;
  spec.channel = channel;
  spec.pool = wanted.pool;
  spec.volume = wanted.volume;
  spec.labels = CommonLabels(wanted.kind);
  spec.labels[kKeyChannel] = channel == ChannelKind::kSocket ? "socket" : "exec";
  spec.labels[kKeyHost] = host_id_;
  spec.labels[kKeyMachine] = machine_;
  spec.labels[kKeyImage] = image.ref.fingerprint.empty() ? image.ref.alias : image.ref.fingerprint;
  if (!wanted.user.empty()) spec.labels[kKeyUser] = wanted.user;
  spec.root_size = RootSize(image, wanted.limits.disk);

  std::shared_ptr<Sandbox> sandbox;
  bool made = false;
  const auto launched = [&] {
    const std::lock_guard lock(mutex_);
    launching_.erase(wanted.instance);
  };
  const auto give_up = [&](const Error& error) {
    launched();
    if (sandbox) sandbox->Detach();
    if (made)
      if (Status s = engine_.DeleteInstance(wanted.instance, kChangeLimit); !s)
        host_.LogWarn(s.error().message);
    // Of somebody else's instance the folder is his.
    if (made || error.code != CSB_E_CONFLICT) RemoveSlot(wanted.instance);
    return error;
  };
  Live live{.user = wanted.user,
            .container = wanted.instance,
            .name = wanted.instance,
            .slot = slot,
            .channel = channel,
            .limits = wanted.limits,
            .image = wanted.image,
            .created_at = Rfc3339Now(),
            .image_id = image.ref.fingerprint,
            .member = wanted.member};
  if (channel == ChannelKind::kSocket) {
    auto tools = tools_.Folder();
    if (!tools) return tools.error();
    spec.tools = *tools;
    spec.control = names_.Control(slot);
    if (Status s = MakeFolders(names_.Slot(slot), 0711); !s) return s.error();
    if (Status s = MakeFolders(spec.control, 0755); !s) return give_up(s.error());
    // 0666: the container's root is a stranger here. Who comes is asked of the kernel.
    auto listening = Sandbox::Listen(host_, reactor_, wanted.instance, Words(), spec.control, 0666,
                                     IsInitOf(options_.remote.project, wanted.instance));
    if (!listening) return give_up(listening.error());
    sandbox = *listening;
    if (Status s = sandbox->Begin(live, nullptr, on_lost); !s) return give_up(s.error());
    const std::lock_guard lock(mutex_);
    launching_[wanted.instance] = sandbox;
  } else {
    if (!options_.vm) {
      auto volume = ToolsVolume(image, wanted.pool, wanted.member);
      if (!volume) return volume.error();
      spec.tools_volume = *volume;
    }
    sandbox = Sandbox::ForStream(host_, reactor_, wanted.instance, Words());
  }
  Status created;
  bool looked = false;
  for (int attempt = 0;; ++attempt) {
    auto attachment = networks_.Prepare(wanted.limits);
    if (!attachment) return give_up(attachment.error());
    spec.network = *attachment;
    created = engine_.CreateInstance(InstanceBody(options_, spec), wanted.member, kCreateLimit);
    // Perhaps that of the tools: to a host with another agent one that nobody uses is an old one.
    if (!created && !spec.tools_volume.empty() && !looked && LacksVolume(created.error())) {
      looked = true;
      if (auto volume = ToolsVolume(image, wanted.pool, wanted.member, true); !volume)
        return give_up(volume.error());
      continue;
    }
    // Of two with one address the engine starts one, and keeps the other, which never ran.
    if (created || !IsAddressTaken(created.error()) || attempt == kAddresses) break;
    if (Status s = engine_.DeleteInstance(wanted.instance, kChangeLimit); !s) return give_up(s.error());
  }
  if (!created) {
    *no_folders = channel == ChannelKind::kSocket && SeesNoFolders(created.error());
    // Half of it may be there; unless it is another host's, which was faster.
    if (created.error().code != CSB_E_CONFLICT) {
      auto half = engine_.Instance(wanted.instance, kAskLimit);
      made = half && half->Get(kKeyHost) == host_id_;
    }
    Error error = created.error();
    if (error.hint.empty() && error.message.find("forkstart") != std::string::npos)
      error.hint = options_.boot == Boot::kImage
                       ? "has the image an init? incus.boot=agent needs none"
                       : "is the image for this machine's processor? the server's log tells what LXC said";
    return give_up(error);
  }
  made = true;
  if (options_.vm) {
    talk.progress("the virtual machine boots");
    if (Status s = AwaitMachine(engine_, wanted.instance, kVmLimit, talk); !s) return give_up(s.error());
    Status pushed = Push(wanted.instance);
    // The machine's agent may begin anew while its services start.
    for (int again = 0; !pushed && pushed.error().code == CSB_E_UNAVAILABLE && again < kPushes; ++again) {
      if (Status s = AwaitMachine(engine_, wanted.instance, kVmLimit, talk); !s) return give_up(s.error());
      pushed = Push(wanted.instance);
    }
    if (!pushed) return give_up(pushed.error());
  }
  if (options_.vm || options_.boot == Boot::kImage)
    if (Status s = StartAgent(wanted.instance, spec); !s) return give_up(s.error());
  Result<std::shared_ptr<Sandbox>> connected = Connect(sandbox, live, kReadyLimit, on_lost);
  launched();
  if (!connected) {
    auto said = engine_.ConsoleLog(wanted.instance, kAskLimit);
    Error error = connected.error();
    if (said && !said->empty()) error.message += ": " + *said;
    return give_up(error);
  }
  if (wanted.limits.disk > 0)
    if (Status s = FitRoot(spec, wanted.limits.disk); !s) return give_up(s.error());
  if (Status s = EnsurePython(**connected, spec.labels[kKeyImage], talk); !s) return give_up(s.error());
  return connected;
}

// Every host process looks once for each member, and again where a create misses a volume.
Result<std::string> Launcher::ToolsVolume(const ResolvedImage& image, const std::string& pool,
                                          const std::string& member, bool again) {
  auto digest = tools_.Digest();
  if (!digest) return digest.error();
  const std::string name = names_.ToolsVolume(*digest);
  std::mutex* filling = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!again && with_tools_.contains(member)) return name;
    filling = &filling_[member];
  }
  // One at a time for each member: the engine may hang for one that is cut off.
  const std::lock_guard one_at_a_time(*filling);
  {
    const std::lock_guard lock(mutex_);
    if (!again && with_tools_.contains(member)) return name;
  }
  Config config = CommonLabels("tools");
  config["security.shifted"] = "true";
  const Status made =
      engine_.CreateVolume(pool, name, "clara-sandbox: its agent", config, member, kChangeLimit);
  if (!made && made.error().code != CSB_E_CONFLICT) return made.error();
  auto volume = engine_.Volume(pool, name, member, kAskLimit);
  if (!volume) return volume.error();
  if (!volume->config.contains(kKeyFilled)) {
    // Half filled, by a host that was killed, it looks the same; two may fill it at once.
    if (Status s = FillTools(image, pool, name, member); !s) return s.error();
    if (Status s = engine_.PatchVolume(pool, name, member, {{kKeyFilled, "true"}}, kAskLimit); !s)
      return s.error();
  }
  const std::lock_guard lock(mutex_);
  with_tools_.insert(member);
  return name;
}

// Files get into a volume through an instance that has it mounted, and runs.
Status Launcher::FillTools(const ResolvedImage& image, const std::string& pool, const std::string& volume,
                           const std::string& member) {
  InstanceSpec spec;
  spec.name = names_.Filler(host_id_, fillers_++);
  spec.image = image.ref;
  spec.limits.memory = 128 << 20;
  spec.limits.pids = 16;
  spec.labels = CommonLabels("filler");
  spec.labels[kKeyHost] = host_id_;
  spec.labels[kKeyMachine] = machine_;
  spec.channel = ChannelKind::kExec;
  spec.pool = pool;
  spec.tools_volume = volume;
  spec.init = "/bin/sleep 300";
  Status done = engine_.CreateInstance(InstanceBody(options_, spec), member, kCreateLimit);
  // Another host may be through with it already, and have instances that start from it: names change at once.
  const std::string part = ".part-" + host_id_;
  if (done) done = Push(spec.name, part);
  for (const std::string file : {kSeccompInside, kAgentInside}) {
    if (!done) break;
    auto ran = engine_.Run(spec.name, {"mv", "-f", file + part, file}, kChangeLimit);
    if (!ran)
      done = ran.error();
    else if (ran->exit_code != 0)
      done = Error{CSB_E_UNAVAILABLE, "cannot fill the volume " + volume + ": mv: " + ran->err,
                   "does the image have mv?", false};
  }
  if (Status s = engine_.DeleteInstance(spec.name, kChangeLimit); !s) host_.LogWarn(s.error().message);
  return done;
}

Status Launcher::Push(const std::string& instance, const std::string& suffix) {
  auto contents = tools_.Read();
  if (!contents) return contents.error();
  // A volume that is mounted there has made them.
  if (options_.vm)
    for (const char* folder : {"/.clara", kToolsInside})
      if (Status s = engine_.MakeFolder(instance, folder, 0755, kChangeLimit); !s) return s;
  Status put = engine_.PutFile(instance, kSeccompInside + suffix, 0444, contents->seccomp, kChangeLimit);
  if (!put) return put;
  return engine_.PutFile(instance, kAgentInside + suffix, 0555, contents->agent, kCreateLimit);
}

Status Launcher::StartAgent(const std::string& instance, const InstanceSpec& spec) {
  auto ran = engine_.Run(instance, AgentCommand(options_, spec), options_.vm ? kVmStartLimit : kReadyLimit);
  if (!ran) return ran.error();
  if (ran->exit_code == 0) return {};
  return Error{CSB_E_UNAVAILABLE, "the agent does not start in " + instance + ": " + ran->err,
               "is the image for this machine's processor? incus.agent must be the agent of this version",
               false};
}

Result<std::shared_ptr<Sandbox>> Launcher::Attach(const InstanceInfo& info, const std::string& user,
                                                  Limits limits, Sandbox::OnLost on_lost) {
  const std::string slot(names_.SlotOf(info.name));
  if (slot.empty() || slot.find('/') != std::string::npos)
    return Error{CSB_E_INTERNAL, "the instance " + info.name + " is none of ours", "", false};
  const bool socket = info.Get(kKeyChannel) == "socket" && info.Get(kKeyMachine) == machine_;
  std::shared_ptr<Sandbox> sandbox;
  Live live{.user = user,
            .container = info.name,
            .name = info.name,
            .slot = slot,
            .channel = socket ? ChannelKind::kSocket : ChannelKind::kExec,
            .limits = limits,
            .image = info.Get(kKeyImage),
            .created_at = info.created,
            .member = info.location == "none" ? "" : info.location};
  if (socket) {
    if (Status s = MakeFolders(names_.Control(slot), 0755); !s) return s.error();
    auto listening = Sandbox::Listen(host_, reactor_, info.name, Words(), names_.Control(slot), 0666,
                                     IsInitOf(options_.remote.project, info.name));
    if (!listening) return listening.error();
    sandbox = *listening;
    if (Status s = sandbox->Begin(live, nullptr, on_lost); !s) return s.error();
  } else {
    sandbox = Sandbox::ForStream(host_, reactor_, info.name, Words());
  }
  auto connected = Connect(sandbox, live, kAttachLimit, on_lost);
  if (!connected) sandbox->Detach();
  return connected;
}

Result<std::shared_ptr<Sandbox>> Launcher::Connect(std::shared_ptr<Sandbox> sandbox, Live live,
                                                   milliseconds limit, Sandbox::OnLost on_lost) {
  const std::string name = live.name;
  const Limits limits = live.limits;
  const ChannelKind kind = live.channel;
  if (kind == ChannelKind::kExec) {
    if (WatchesSilence(!live.member.empty())) sandbox->set_silence(kSilence);
    auto opened =
        ExecStream::Open(reactor_, engine_.http(), options_.remote.project, name,
                         {kAgentInside, "--connect", kBridgesInside, "--host-id", "host-" + host_id_}, limit);
    if (!opened) return opened.error();
    if (Status s = sandbox->Begin(std::move(live), *std::move(opened), std::move(on_lost)); !s)
      return s.error();
  }
  if (Status s = sandbox->WaitReady(limit); !s) return s.error();
  const auto channel = sandbox->channel();
  if (!channel) return Error{CSB_E_UNAVAILABLE, "the sandbox ended at once", "", true};
  // Worth its 35 ms: without it nobody could tell that a sandbox was out of memory.
  if (kind == ChannelKind::kExec && Local() && !options_.vm && options_.boot == Boot::kAgent)
    if (auto state = engine_.State(name, kAskLimit); state && state->pid > 0)
      sandbox->SeeInit(state->pid, IsInitOf(options_.remote.project, name));
  const pid_t pid = sandbox->live().pid;
  auto storage = Storage();
  if (!storage) return storage.error();
  auto enforced = ReadBackInside(*channel, limits, options_, storage->driver,
                                 pid > 0 ? HostLimitsOf(pid, name) : HostLimits());
  if (!enforced) return enforced.error();
  sandbox->set_enforced(*std::move(enforced));
  return sandbox;
}

uint64_t Launcher::RootSize(const ResolvedImage& image, uint64_t disk) {
  if (disk == 0) return 0;
  const std::lock_guard lock(mutex_);
  const auto known = unpacked_.find(image.ref.fingerprint);
  return disk + (known == unpacked_.end() ? image.size * kUnpacked : known->second);
}

Status Launcher::FitRoot(const InstanceSpec& spec, uint64_t disk) {
  const std::string& image = spec.image.fingerprint;
  {
    const std::lock_guard lock(mutex_);
    if (unpacked_.contains(image)) return {};
  }
  // What the pool tells leaves out what the instance shares with its image.
  auto taken = UsedByRoot(engine_, spec.name);
  if (!taken) return taken.error();
  if (*taken == 0) return {};  // the guess is kept
  if (Status s = engine_.ResizeRoot(spec.name, spec.pool, disk + *taken, kChangeLimit); !s) return s;
  const std::lock_guard lock(mutex_);
  if (!image.empty()) unpacked_[image] = *taken;
  return {};
}

// Images of the cloud kind have it; where one has not, every instance would fetch it anew, so that it is
// worth an image of one's own (incus publish).
Status Launcher::EnsurePython(Sandbox& sandbox, const std::string& image, const Conversation& talk) {
  {
    const std::lock_guard lock(mutex_);
    if (with_python_.contains(image)) return {};
  }
  const auto channel = sandbox.channel();
  if (!channel) return Error{CSB_E_UNAVAILABLE, "the sandbox ended at once", "", true};
  if (HasPython(*channel)) {
    const std::lock_guard lock(mutex_);
    with_python_.insert(image);
    return {};
  }
  const Error none{
      CSB_E_UNAVAILABLE, "the image has no Python (" + sandbox.live().image + ")",
      "use one that has (images:debian/12/cloud), or make one: incus launch IMAGE base; incus "
      "exec base -- apt-get install -y python3 python3-pip; incus stop base; incus publish base "
      "--alias NAME; or set INCUS_SANDBOX_NETWORK=bridge and incus.boot=image, so that it can be fetched",
      false};
  // What is run beside an init of ours has its rights, which are none.
  if (sandbox.live().limits.network == "none" || (!options_.vm && options_.boot == Boot::kAgent)) return none;
  talk.progress("the image has no Python: it is fetched");
  host_.LogInfo("the image " + sandbox.live().image + " has no Python: each instance of it fetches it");
  auto ran = engine_.Run(sandbox.live().name, InstallPython(), kCreateLimit);
  if (!ran) return ran.error();
  if (ran->exit_code == 0 && HasPython(*channel)) return {};
  Error error = none;
  error.message += ", and it can't be fetched: " + ran->err.substr(0, 512);
  return error;
}

void Launcher::NoteEnd(const std::string& instance) {
  std::shared_ptr<Sandbox> sandbox;
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = launching_.find(instance); it != launching_.end()) sandbox = it->second.lock();
  }
  if (sandbox) sandbox->MarkEnded("the instance ended");
}

Status Launcher::Remove(const std::string& instance) {
  auto info = engine_.Instance(instance, kAskLimit);
  if (!info && info.error().code != CSB_E_NOT_FOUND) return info.error();
  // A name that somebody else has taken stands for his.
  if (info && info->Get(kKeyInstallation) != names_.installation()) return {};
  if (Status s = engine_.DeleteInstance(instance, kChangeLimit); !s) return s;
  RemoveSlot(instance);
  return {};
}

void Launcher::RemoveSlot(const std::string& instance) {
  const std::string slot(names_.SlotOf(instance));
  if (slot.empty() || slot.find('/') != std::string::npos || slot.front() == '.') return;
  // Sockets of ours; never anything that a sandbox could have put there, as it is mounted read-only.
  std::error_code error;
  std::filesystem::remove_all(names_.Slot(slot), error);
  if (error) host_.LogWarn("cannot remove " + names_.Slot(slot) + ": " + error.message());
}

std::string Launcher::Isolation() const {
  if (options_.vm) return "a virtual machine with a kernel of its own";
  return "a system container: user namespace of its own, seccomp, control groups";
}

}  // namespace csb::incus
