// SPDX-License-Identifier: Apache-2.0
//
// engine.h: what is asked of Incus, typed; nothing here knows of users or sandboxes. Source: Incus REST API
// (https://linuxcontainers.org/incus/docs/main/rest-api/), server 6.0 up.
//
//   Engine engine(reactor, std::move(client), "default");
//   if (Status s = engine.CreateInstance(body, "m2", 30s); !s) return s.error();
//   auto info = engine.Instance("clara-1f…", 5s);
//
// Every function blocks, at most its limit, and is for a worker's thread. Thread-safe. An answer 202 is
// awaited: by the operation's event where the event stream is open, else by the operation's /wait.
// What the engine answers is checked for shape; a member that is missing reads as empty or 0.
// Errors (engine_error.h): CSB_E_NOT_FOUND, CSB_E_CONFLICT (the name is taken; or the ETag does not match any
// more), CSB_E_NO_CAPACITY (the pool is full), CSB_E_UNAVAILABLE, CSB_E_DEADLINE; a message says what was to
// be done, on what, and the engine's words.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::incus {

using Config = std::map<std::string, std::string>;
using Devices = std::map<std::string, Config>;

// "" when it is not there.
std::string ValueOf(const Config& config, const std::string& key);
// Of an entry of used_by ("/1.0/instances/NAME?project=…"); "" where it is no instance's.
std::string InstanceOf(const std::string& used);

struct ServerInfo {
  std::string version;  // "6.0.4"
  std::string name;     // of the member that answers; "none" outside a cluster
  bool clustered = false;
  bool trusted = false;     // auth is "trusted"
  std::string fingerprint;  // of its certificate: the same as long as it is the same server
  std::string architecture, kernel, kernel_version;
  std::vector<std::string> extensions;  // api_extensions
  std::string drivers;                  // "lxc | qemu": what instances it can run
  std::string driver_versions;          // "6.0.0 | 7.2.0"
  std::vector<std::string> addresses;
  std::string storages;  // "btrfs | dir"
  std::string project;   // as asked for

  bool Has(std::string_view extension) const;
  bool RunsVms() const;  // drivers names qemu
};

struct InstanceInfo {
  std::string name;
  std::string type;      // "container", "virtual-machine"
  std::string status;    // "Running", "Stopped", "Frozen", "Error", …
  std::string location;  // the member; "none" outside a cluster
  std::string created;   // RFC 3339
  Config config;         // its own, volatile.* included
  Devices devices;       // expanded
  std::string etag;      // of Instance(), for PatchInstance

  bool alive() const { return status == "Running" || status == "Frozen" || status == "Starting"; }
  std::string Get(const std::string& key) const { return ValueOf(config, key); }
};

struct InstanceState {
  std::string status;
  pid_t pid = 0;           // of its init, on its member
  int64_t processes = -1;  // of a VM whose agent is not up: -1
  uint64_t memory = 0;     // bytes
  uint64_t cpu_ns = 0;
  uint64_t disk = 0;  // bytes of its root
};

struct ProfileInfo {
  std::string name;
  Config config;
  std::string etag;
  Devices devices = {};
};

struct VolumeInfo {
  std::string name, location;  // the member that has it, for pools that are no cluster's whole
  Config config;
  std::vector<std::string> used_by;
  std::string created = {};  // RFC 3339
};

struct PoolInfo {
  std::string name, driver, status;  // "btrfs", "Created"
  Config config;
  uint64_t used = 0, total = 0;  // bytes; of one member, by PoolSpace
};

struct ImageInfo {
  std::string fingerprint, type;  // "container", "virtual-machine"
  std::string architecture;
  Config properties;
  uint64_t size = 0;  // bytes as it is stored, compressed perhaps
};

struct NetworkInfo {
  std::string name, type;  // "bridge"
  bool managed = false;
  Config config;
  std::string status;
};

struct MemberInfo {
  std::string name, url;
  std::string status;               // "Online", "Offline", "Evacuated", "Blocked"
  std::string message;              // "Fully operational"
  std::vector<std::string> roles;   // "database-leader", …
  std::vector<std::string> groups;  // "default"
  std::string architecture;

  bool online() const { return status == "Online"; }
};

struct MemberLoad {
  uint64_t memory_total = 0, memory_free = 0;  // bytes
  double load = 0;                             // of one minute
  uint64_t cpus = 0;
};

struct Ran {
  int exit_code = -1;
  std::string out, err;  // at most 64 KiB each
};

class Engine {
 public:
  using Limit = std::chrono::milliseconds;

  // The reactor outlives it.
  Engine(Reactor& reactor, std::unique_ptr<HttpClient> client, std::string project);
  ~Engine();

  // Asked again when older than max_age. CSB_E_FORBIDDEN when the server does not trust us.
  Result<ServerInfo> Info(Limit limit, Limit max_age = Limit::max());

  // The engine's own word on why it runs no virtual machines; "" where it says nothing of it.
  Result<std::string> WhyNoMachines(Limit limit);

  // ---- instances ----
  // `body`: instance_spec.h. target: a member, "@group", or "".
  Status CreateInstance(const std::string& body, const std::string& target, Limit limit);
  Result<InstanceInfo> Instance(const std::string& name, Limit limit);
  // All whose config says key = value, recursion 1, expanded devices included.
  Result<std::vector<InstanceInfo>> Instances(const std::string& key, const std::string& value, Limit limit);
  Result<InstanceState> State(const std::string& name, Limit limit);  // costs 35 ms: what it reads is much
  // "start", "stop", "freeze", "unfreeze". force: a stop that does not ask. One that is so already is no
  // error.
  Status ChangeState(const std::string& name, const std::string& action, bool force, Limit limit);
  // Merges; an empty value takes a key away. etag "": whatever it is now.
  Status PatchInstance(const std::string& name, const Config& config, const std::string& etag, Limit limit);
  // The size of its root, bytes, image included; it may run.
  Status ResizeRoot(const std::string& name, const std::string& pool, uint64_t size, Limit limit);
  // Stops it first, hard. One that is gone is no error.
  Status DeleteInstance(const std::string& name, Limit limit);
  // As root of the instance, to its end; nothing is read from stdin.
  Result<Ran> Run(const std::string& name, const std::vector<std::string>& argv, Limit limit);
  // The last of what its processes wrote to the console, made printable, at most 1 KiB.
  Result<std::string> ConsoleLog(const std::string& name, Limit limit);
  // Parents must be there. mode: 0755.
  Status PutFile(const std::string& name, const std::string& path, int mode, const std::string& content,
                 Limit limit);
  Status MakeFolder(const std::string& name, const std::string& path, int mode, Limit limit);

  // ---- profiles: what we write down about a user, since a create of one is the engine's own "only one of
  // this name", in a cluster as well, and costs 3 ms ----
  Status CreateProfile(const std::string& name, const std::string& description, const Config& config,
                       Limit limit);  // CSB_E_CONFLICT
  Result<ProfileInfo> Profile(const std::string& name, Limit limit);
  // etag "": whatever it is now.
  Status ReplaceProfile(const ProfileInfo& profile, const std::string& description, Limit limit);
  Status DeleteProfile(const std::string& name, Limit limit);  // gone already: no error
  // Those whose name starts so; recursion 1.
  Result<std::vector<ProfileInfo>> Profiles(const std::string& prefix, Limit limit);

  // ---- storage ----
  Result<PoolInfo> Pool(const std::string& name, Limit limit);
  Result<std::vector<PoolInfo>> Pools(Limit limit);
  Status PoolSpace(PoolInfo* pool, const std::string& member, Limit limit);  // fills used, total
  // content: "filesystem". CSB_E_CONFLICT. target: the member that is to have it; "": any.
  Status CreateVolume(const std::string& pool, const std::string& name, const std::string& description,
                      const Config& config, const std::string& target, Limit limit);
  // member "": the one that answers, or the only one that has it.
  Result<VolumeInfo> Volume(const std::string& pool, const std::string& name, const std::string& member,
                            Limit limit);
  // Merges config.
  Status PatchVolume(const std::string& pool, const std::string& name, const std::string& member,
                     const Config& config, Limit limit);
  Status DeleteVolume(const std::string& pool, const std::string& name, const std::string& member,
                      Limit limit);  // gone: no error
  Result<std::vector<VolumeInfo>> Volumes(const std::string& pool, const std::string& prefix, Limit limit);
  // To another member of the cluster, where it has the same name, and this config; nothing should be writing
  // to it. CSB_E_CONFLICT: there is one.
  Status CopyVolume(const std::string& pool, const std::string& name, const std::string& description,
                    const Config& config, const std::string& from, const std::string& to, Limit limit);

  // ---- images ----
  // By alias or fingerprint, of those the server has. type: "container" or "virtual-machine": an alias may
  // stand for one of each.
  Result<ImageInfo> Image(const std::string& name, const std::string& type, Limit limit);
  // One that the server has fetched from another: server "https://images.linuxcontainers.org", alias
  // "debian/12/cloud". CSB_E_NOT_FOUND.
  Result<ImageInfo> CachedImage(const std::string& server, const std::string& alias, const std::string& type,
                                Limit limit);

  // ---- networks ----
  Result<NetworkInfo> Network(const std::string& name, Limit limit);
  Status CreateNetwork(const std::string& name, const Config& config, Limit limit);  // CSB_E_CONFLICT
  Status PatchNetwork(const std::string& name, const Config& config, Limit limit);
  // `body` as the API has it: {"name":…,"egress":[…],"ingress":[…]}; made or replaced.
  Status PutAcl(const std::string& name, const std::string& body, Limit limit);

  // ---- cluster ----
  Result<std::vector<MemberInfo>> Members(Limit limit);             // empty outside a cluster
  Result<MemberLoad> Load(const std::string& member, Limit limit);  // fails soon for one that is down

  HttpClient& http() { return *client_; }
  const std::string& project() const { return project_; }
  // "?project=default", or "&project=…" behind a path that has a query already.
  std::string WithProject(const std::string& path) const;

  // Lifecycle events and the engine's going: on the reactor's thread; set before Listen.
  struct Handlers {
    // "instance-stopped", and the name it is about; `member`: where. "image-…" comes without a name.
    std::function<void(const std::string& action, const std::string& name, const std::string& member)>
        on_lifecycle;
    std::function<void()> on_open;      // events come from now on: compare what was missed
    std::function<void()> on_shutdown;  // incusd says that it is shutting down: close what holds it up
  };
  // Opens the event stream and keeps it open; called once.
  void Listen(Handlers handlers);
  // Lifecycle events so far; and until there is one more than `seen`, at most the limit: what may have been
  // missed, or ends without one, is looked at again.
  uint64_t Happened() const;
  void AwaitEvent(uint64_t seen, Limit limit) const;

 private:
  struct Impl;
  std::unique_ptr<HttpClient> client_;
  const std::string project_;
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::incus
