// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/launcher.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "plugins/common/host_addresses.h"
#include "plugins/common/readback.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"
#include "plugins/docker/agent_volume.h"
#include "plugins/docker/exec_stream.h"

namespace csb::docker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kReadyLimit{15'000};
constexpr milliseconds kAttachLimit{5'000};
constexpr milliseconds kPullPatience{45'000};  // less than a host waits for a create

std::string LabelOf(const ContainerInfo& info, const char* key) {
  const auto it = info.labels.find(key);
  return it == info.labels.end() ? std::string() : it->second;
}

// What the engine's words about a create come to for its operator. `disk`: what was asked for.
Error ExplainCreate(const Error& error, uint64_t disk) {
  const auto says = [&](const char* word) { return error.message.find(word) != std::string::npos; };
  if (disk > 0 && (says("storage-opt") || says("quota") || says("Storage Option") || says("storage opt")))
    return {CSB_E_UNSUPPORTED, "docker.disk: the engine's storage can't enforce a size: " + error.message,
            "unset DOCKER_SANDBOX_DISK (docker.disk), or keep the engine's data on xfs mounted with pquota",
            false};
  if (says("opening seccomp profile failed"))
    return {CSB_E_UNSUPPORTED,
            "docker.seccomp: the engine does not see this machine's files: " + error.message,
            "set docker.seccomp=docker, for the engine's own profile", false};
  return error;
}

// A slot comes back from the engine, where others may have written it: it must stay one folder of ours.
bool IsSlot(const std::string& slot) {
  return !slot.empty() && slot.size() <= 128 && slot.find('/') == std::string::npos && slot.front() != '.';
}

}  // namespace

Launcher::Launcher(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
                   std::string host_id)
    : host_(host),
      reactor_(reactor),
      engine_(engine),
      options_(options),
      names_(names),
      host_id_(std::move(host_id)),
      puller_(engine) {}

Labels Launcher::CommonLabels(const std::string& kind) const {
  return {{kLabelInstallation, names_.installation()}, {kLabelKind, kind}};
}

Result<ImageInfo> Launcher::PrepareImage(const std::string& name, const Conversation& talk) {
  auto image = engine_.Image(name, kAskLimit);
  if (image || image.error().code != CSB_E_NOT_FOUND) return image;
  const std::string hint =
      "build or import it (deploy/sandbox-image/build makes one without a registry) and set "
      "DOCKER_SANDBOX_IMAGE (docker.image) to its name";
  if (!options_.pull)
    return Error{CSB_E_UNAVAILABLE, "the engine has no image " + name + ", and docker.pull is never", hint,
                 false};
  talk.progress("pulling " + name);
  host_.LogInfo("the image " + name + " is pulled");
  const Status pulled = puller_.Pull(name, talk, kPullPatience);
  if (!pulled && (pulled.error().code == CSB_E_CANCELLED ||
                  pulled.error().message.find("still being") != std::string::npos))
    return pulled.error();
  if (!pulled)
    return Error{CSB_E_UNAVAILABLE, "the engine has no image " + name + ": " + pulled.error().message, hint,
                 true};
  return engine_.Image(name, kAskLimit);
}

// A container as users get it, which is never started: what the engine would refuse then, it refuses now.
// With mounts of this machine's folders for a socket, and none for a stream.
Status Launcher::Try(ChannelKind channel, const std::string& image) {
  const std::string slot = "probe-" + host_id_ + "-" + std::to_string(host_.NowNs());
  ContainerSpec spec;
  spec.image = image;
  spec.channel = channel;
  spec.limits = options_.limits;
  spec.labels = CommonLabels("probe");
  spec.labels[kLabelHost] = host_id_;
  spec.labels[kLabelSlot] = slot;
  if (Status s = SeccompFile(&spec.seccomp_file); !s) return s;
  if (channel == ChannelKind::kSocket) {
    if (Status s = MakeFolders(names_.Slot(slot), 0711); !s) return s;
    spec.folder = names_.Slot(slot);
    spec.control = names_.Slot(slot);
  }
  auto id = engine_.CreateContainer(names_.prefix() + slot, ContainerBody(options_, spec), kChangeLimit);
  if (channel == ChannelKind::kSocket) rmdir(names_.Slot(slot).c_str());
  if (!id) return ExplainCreate(id.error(), options_.limits.disk);
  if (Status s = engine_.Remove(*id, kChangeLimit); !s) host_.LogWarn(s.error().message);
  return {};
}

// What was found out once holds as long as the daemon and the image are the same.
Result<ChannelKind> Launcher::Channel(const std::string& image) {
  auto info = engine_.Info(kAskLimit);
  if (!info) return info.error();
  const std::string of = info->id + " " + image;
  {
    const std::lock_guard lock(mutex_);
    if (channel_ && channel_of_.contains(of)) return *channel_;
  }
  ChannelKind kind = options_.channel.value_or(ChannelKind::kSocket);
  bool settled = options_.channel.has_value();
  if (!settled) {
    // A kernel of the sandbox's own has no way to a socket of ours, and another machine none either.
    const std::string runtime = RuntimeOf(*info);
    const bool own_kernel =
        runtime.find("runsc") != std::string::npos || runtime.find("kata") != std::string::npos;
    settled = own_kernel || engine_.http().endpoint().unix_socket.empty();
    if (settled) kind = ChannelKind::kExec;
  }
  Status tried = Try(kind, image);
  // A mount whose source the daemon does not see.
  if (!tried && !settled && !tried.error().message.starts_with("docker.seccomp") &&
      (tried.error().message.find("bind source path does not exist") != std::string::npos ||
       tried.error().message.find("no such file or directory") != std::string::npos)) {
    kind = ChannelKind::kExec;
    tried = Try(kind, image);
  }
  if (!tried) return tried.error();
  const std::lock_guard lock(mutex_);
  if (!channel_of_.contains(of)) {
    // Of one daemon at a time; what its processes looked like (Launch) is kept for all images.
    if (channel_of_.empty() || !channel_of_.begin()->starts_with(info->id + " "))
      channel_.reset(), channel_of_.clear();
    channel_of_.insert(of);
    if (!channel_) channel_ = kind;
  }
  return *channel_;
}

mode_t Launcher::SocketMode() {
  // Root without capabilities still opens what root owns; with uids that are mapped elsewhere it is a
  // stranger.
  auto info = engine_.Info(kAskLimit);
  return geteuid() == 0 && info && !info->rootless && !info->userns_remap ? 0600 : 0666;
}

Status Launcher::SeccompFile(std::string* path) {
  auto info = engine_.Info(kAskLimit);
  const std::string profile = ProfileOf(options_);
  if (!info || info->name != "Podman" || profile.empty()) return {};
  if (engine_.http().endpoint().unix_socket.empty())
    return Error{CSB_E_UNSUPPORTED,
                 "docker.seccomp: Podman reads a profile from its own machine's files only",
                 "set docker.seccomp=docker, for Podman's own profile", false};
  const std::string file = names_.Profile();
  if (auto text = ReadSmallFile(file); !text || *text != profile)
    if (Status s = ReplaceSmallFile(file, profile); !s) return s;
  *path = file;
  return {};
}

Result<std::string> Launcher::AgentVolume(const std::string& image) {
  // One at a time: the container that it is filled through has one name in this process.
  const std::lock_guard making(agent_volume_making_);
  // It may have been pruned: a create would then get an empty one of that name.
  if (!agent_volume_.empty())
    if (auto labels = engine_.InspectVolume(agent_volume_, kAskLimit);
        labels && labels->contains(kLabelInstallation))
      return agent_volume_;
  auto volume = MakeAgentVolume(engine_, names_, CommonLabels("agent"), options_.agent, image, host_id_);
  if (!volume) return volume.error();
  agent_volume_ = *volume;
  return volume;
}

Result<std::string> Launcher::Network(const Limits& limits, std::string* blocked) {
  if (limits.network == "none") return std::string();
  if (limits.network != "bridge") return limits.network;
  if (Status s = engine_.EnsureBridge(BridgeName(), CommonLabels("network"), kChangeLimit); !s)
    return s.error();
  *blocked = options_.blocked_ranges;
  // This machine's own addresses, where it is the engine's machine: its services are nobody's business
  // inside.
  if (!engine_.http().endpoint().unix_socket.empty()) *blocked = WithHostAddresses(*blocked);
  return BridgeName();
}

Result<std::shared_ptr<Sandbox>> Launcher::Launch(const Wanted& wanted, const Conversation& talk,
                                                  Sandbox::OnLost on_lost) {
  auto image = PrepareImage(wanted.image, talk);
  if (!image) return image.error();
  auto channel = Channel(image->id);
  if (!channel) return channel.error();
  bool wrong = false;
  auto sandbox = LaunchOn(*channel, *image, wanted, on_lost, &wrong);
  if (sandbox || !wrong || options_.channel) return sandbox;
  // The folders are seen, the processes are not: the host runs in a container beside the engine's socket.
  host_.LogInfo("the engine's processes can't be seen from here: sandboxes are reached through exec streams");
  {
    const std::lock_guard lock(mutex_);
    channel_ = ChannelKind::kExec;
  }
  return LaunchOn(ChannelKind::kExec, *image, wanted, on_lost, &wrong);
}

Result<std::shared_ptr<Sandbox>> Launcher::LaunchOn(ChannelKind channel, const ImageInfo& image,
                                                    const Wanted& wanted, const Sandbox::OnLost& on_lost,
                                                    bool* wrong_channel) {
  ContainerSpec spec;
  spec.image = image.id;
  spec.env = image.env;
  spec.limits = wanted.limits;
  spec.channel = channel;
  spec.volume = wanted.volume;
  spec.folder = wanted.folder;
  spec.labels = wanted.labels;
  spec.labels[kLabelInstallation] = names_.installation();
  spec.labels[kLabelSlot] = wanted.slot;
  spec.labels[kLabelChannel] = channel == ChannelKind::kSocket ? "socket" : "exec";
  if (Status s = SeccompFile(&spec.seccomp_file); !s) return s.error();
  auto network = Network(wanted.limits, &spec.blocked);
  if (!network) return network.error();
  spec.network = *network;

  std::shared_ptr<Sandbox> sandbox;
  std::string id;
  const auto give_up = [&](const Error& error) {
    if (sandbox) sandbox->Detach();
    if (!id.empty())
      if (Status s = engine_.Remove(id, kChangeLimit); !s) host_.LogWarn(s.error().message);
    RemoveSlot(wanted.slot);
    return error;
  };
  if (channel == ChannelKind::kSocket) {
    spec.control = names_.Control(wanted.slot);
    if (Status s = MakeFolders(names_.Slot(wanted.slot), 0711); !s) return s.error();
    if (Status s = MakeFolders(spec.control, 0755); !s) return give_up(s.error());
    auto listening =
        Sandbox::Listen(host_, reactor_, wanted.container, SandboxWords(), spec.control, SocketMode());
    if (!listening) return give_up(listening.error());
    sandbox = *listening;
  } else {
    auto volume = AgentVolume(image.id);
    if (!volume) return volume.error();
    spec.agent_volume = *volume;
    sandbox = Sandbox::ForStream(host_, reactor_, wanted.container, SandboxWords());
  }
  auto made = engine_.CreateContainer(wanted.container, ContainerBody(options_, spec), kChangeLimit);
  if (!made) return give_up(ExplainCreate(made.error(), wanted.limits.disk));
  id = *made;
  if (Status s = engine_.Start(id, kChangeLimit); !s) return give_up(s.error());
  auto info = engine_.Inspect(id, kAskLimit);
  if (!info) return give_up(info.error());
  const auto ended = [&](int exit_code) {
    const Error error = give_up(
        {CSB_E_UNAVAILABLE, "the container ended at once, with exit code " + std::to_string(exit_code),
         "is the image for this machine's processor? docker.agent must be the agent of this version", false});
    return WithComplaints(error, spec, wanted.container);
  };
  if (!info->alive()) return ended(info->exit_code);
  if (channel == ChannelKind::kSocket && kill(info->pid, 0) != 0 && errno == ESRCH) {
    auto again = engine_.Inspect(id, kAskLimit);
    if (again && !again->alive()) return ended(again->exit_code);
    *wrong_channel = true;
    return give_up({CSB_E_UNAVAILABLE, "the container's processes can't be seen from here", "", true});
  }
  Live live{wanted.user,   id,           wanted.container, wanted.slot, channel, info->pid,
            wanted.limits, wanted.image, Rfc3339Now(),     image.id};
  auto connected = Connect(sandbox, *info, std::move(live), kReadyLimit, on_lost);
  if (connected) return connected;
  auto again = engine_.Inspect(id, kAskLimit);
  if (again && !again->alive()) return ended(again->exit_code);
  return give_up(connected.error());
}

// Started once more with a log, to hear why.
Error Launcher::WithComplaints(Error error, ContainerSpec spec, const std::string& name) {
  spec.log = true;
  const std::string control = names_.Slot("probe-" + host_id_ + "-0");
  if (spec.channel == ChannelKind::kSocket) {
    spec.control = control;
    if (!MakeFolders(control, 0755)) return error;
  }
  auto id = engine_.CreateContainer(name, ContainerBody(options_, spec), kChangeLimit);
  if (id) {
    if (engine_.Start(*id, kChangeLimit) && engine_.WaitEnd(*id, kAskLimit))
      if (auto said = engine_.Complaints(*id, kAskLimit); said && !said->empty())
        error.message += ": " + *said;
    if (Status s = engine_.Remove(*id, kChangeLimit); !s) host_.LogWarn(s.error().message);
  }
  rmdir(control.c_str());
  return error;
}

Result<std::shared_ptr<Sandbox>> Launcher::Attach(const ContainerInfo& info, const std::string& user,
                                                  Limits limits, Sandbox::OnLost on_lost) {
  if (info.status == "paused")
    return Error{CSB_E_UNAVAILABLE, "the container " + info.name + " is paused",
                 "docker unpause " + info.name + "; what runs in it goes on then", true};
  const std::string slot = LabelOf(info, kLabelSlot);
  const bool socket = LabelOf(info, kLabelChannel) != "exec";
  if (!IsSlot(slot)) return Error{CSB_E_INTERNAL, "the container " + info.name + " names no slot", "", false};
  std::shared_ptr<Sandbox> sandbox;
  if (socket) {
    if (Status s = MakeFolders(names_.Control(slot), 0755); !s) return s.error();
    auto listening =
        Sandbox::Listen(host_, reactor_, info.name, SandboxWords(), names_.Control(slot), SocketMode());
    if (!listening) return listening.error();
    sandbox = *listening;
  } else {
    sandbox = Sandbox::ForStream(host_, reactor_, info.name, SandboxWords());
  }
  limits.memory = info.memory;
  limits.cpu = info.cpu;
  limits.network = info.network == BridgeName() ? "bridge" : info.network;
  Live live{user,     info.id, info.name,  slot,        socket ? ChannelKind::kSocket : ChannelKind::kExec,
            info.pid, limits,  info.image, info.created};
  auto connected = Connect(sandbox, info, std::move(live), kAttachLimit, std::move(on_lost));
  if (!connected) sandbox->Detach();
  return connected;
}

Result<std::shared_ptr<Sandbox>> Launcher::Connect(std::shared_ptr<Sandbox> sandbox,
                                                   const ContainerInfo& info, Live live, milliseconds limit,
                                                   Sandbox::OnLost on_lost) {
  std::unique_ptr<ExecStream> stream;
  if (live.channel == ChannelKind::kExec) {
    auto opened = ExecStream::Open(
        reactor_, engine_.http(), engine_.prefix(), info.id,
        {AgentInside(live.channel), "--connect", kControlInside, "--host-id", "host-" + host_id_}, limit);
    if (!opened) return opened.error();
    stream = *std::move(opened);
  }
  const auto engine = engine_.Info(kAskLimit);
  ReadBackContext context;
  context.limits = live.limits;
  context.agent = AgentInside(live.channel);
  context.workspace = kWorkspaceInside;
  context.words = EnforcedWords();
  context.blocked = live.limits.network == "bridge";
  if (engine) context.storage = engine->storage;
  if (!engine_.http().endpoint().unix_socket.empty()) context.host = HostLimitsOf(info.pid, info.id);
  if (Status s = sandbox->Begin(std::move(live), std::move(stream), std::move(on_lost)); !s) return s.error();
  if (Status s = sandbox->WaitReady(limit); !s) return s.error();
  const auto channel = sandbox->channel();
  if (!channel) return Error{CSB_E_UNAVAILABLE, "the sandbox ended at once", "", true};
  auto enforced = ReadBack(*channel, context);
  if (!enforced) return enforced.error();
  sandbox->set_enforced(*std::move(enforced));
  return sandbox;
}

Status Launcher::Remove(const std::string& container, const std::string& slot) {
  if (Status s = engine_.Remove(container, kChangeLimit); !s) return s;
  RemoveSlot(slot);
  return {};
}

void Launcher::RemoveSlot(const std::string& slot) {
  if (!IsSlot(slot)) return;
  // Sockets of ours; never anything that a sandbox could have put there, as it is mounted read-only.
  std::error_code error;
  std::filesystem::remove_all(names_.Slot(slot), error);
  if (error) host_.LogWarn("cannot remove " + names_.Slot(slot) + ": " + error.message());
}

std::string Launcher::RuntimeOf(const EngineInfo& engine) const {
  return options_.runtime.empty() ? engine.default_runtime : options_.runtime;
}

std::string Launcher::Isolation(const EngineInfo& engine) const {
  const std::string runtime = RuntimeOf(engine);
  if (runtime.find("runsc") != std::string::npos)
    return "gVisor: a kernel of its own in user space (" + runtime + ")";
  if (runtime.find("kata") != std::string::npos)
    return "a virtual machine with a kernel of its own (" + runtime + ")";
  return "namespaces, seccomp, control groups of the engine's kernel (" +
         (runtime.empty() ? "runc" : runtime) +
         (engine.rootless || engine.userns_remap ? ", user namespace)" : ")");
}

}  // namespace csb::docker
