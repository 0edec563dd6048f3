// SPDX-License-Identifier: Apache-2.0
//
// engine.h: what is asked of the Docker Engine (or Podman's compatible API), typed; nothing here knows of
// users or sandboxes. Source: Docker Engine API reference, 1.41 up.
//
//   Engine engine(reactor, std::move(client));
//   auto id = engine.CreateContainer("clara-1f-alice", body, 30s);
//   if (Status s = engine.Start(*id, 30s); !s) return s.error();     // messages name what failed and what to
//   do
//
// Every function blocks, at most its limit, and is for a worker's thread. Thread-safe.
// What the engine answers is checked for shape; a member that is missing reads as empty or 0.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::docker {

using Labels = std::map<std::string, std::string>;

struct EngineInfo {
  std::string id;       // of the daemon, kept across its restarts
  std::string version;  // "20.10.24"
  std::string name;     // "Docker", "Podman"
  std::string api;      // the version in use, "1.41"
  std::string storage, root_dir;
  std::string default_runtime;
  std::vector<std::string> runtimes;
  bool rootless = false, userns_remap = false;
  bool memory = false, cpu = false, pids = false;  // limits that its kernel can hold
  int cgroup_version = 0;
};

struct ImageInfo {
  std::string id;
  std::vector<std::string> env;  // "NAME=value"
};

struct ContainerInfo {
  std::string id, name;  // without the leading slash
  std::string status;    // created running paused restarting removing exited dead
  bool oom_killed = false;
  pid_t pid = 0;  // of its init, in the daemon's pid namespace; 0: not running
  int exit_code = 0;
  std::string image, image_id, runtime;
  std::string created, started;  // RFC 3339
  Labels labels;
  std::string workspace_volume;  // "" when it is a folder
  std::string workspace_source;  // the folder, or the volume's
  uint64_t memory = 0, pids = 0;
  double cpu = 0;  // cores
  std::string network;

  bool alive() const { return status == "running" || status == "paused" || status == "restarting"; }
};

struct ListedContainer {
  std::string id, name, status;
  Labels labels;
  std::vector<std::string> volumes;
};

struct ListedVolume {
  std::string name;
  Labels labels;
};

struct Usage {
  uint64_t memory = 0;  // bytes, caches that can be given back not counted
  uint64_t cpu_ns = 0;  // used since it began
  bool known = false;
};

class Engine {
 public:
  using Limit = std::chrono::milliseconds;

  explicit Engine(std::unique_ptr<HttpClient> client) : client_(std::move(client)) {}

  // Asks who is there and which version to speak, where that is not known or older than max_age. Others call
  // it by themselves.
  Result<EngineInfo> Info(Limit limit, Limit max_age = Limit::max());

  Result<ImageInfo> Image(const std::string& name, Limit limit);  // CSB_E_NOT_FOUND
  // Whether the image's registry has it, as the daemon sees it.
  Status Pullable(const std::string& name, Limit limit);
  // Does not block. `progress` gets lines for people; `between`: two of the engine's. Both functions are
  // called on the reactor's thread, `done` once and last; http().Cancel ends it.
  HttpClient::CallId StartPull(const std::string& name, std::function<void(const std::string&)> progress,
                               Limit between, std::function<void(const Status&)> done);

  // CSB_E_CONFLICT: the name is taken. CSB_E_NOT_FOUND: no such image.
  Result<std::string> CreateContainer(const std::string& name, const std::string& body, Limit limit);
  Status Start(const std::string& id, Limit limit);
  // Command lines of its processes that run under the uid of its init, as the engine's machine sees them.
  Result<std::vector<std::string>> RootCommands(const std::string& id, Limit limit);
  // What it wrote to stderr, made printable, at most 1 KiB; for one with a log.
  Result<std::string> Complaints(const std::string& id, Limit limit);
  // Until it has ended; one that is gone is no error.
  Status WaitEnd(const std::string& id, Limit limit);
  // Kills first. One that is gone is no error; waits for one that is being removed.
  Status Remove(const std::string& id, Limit limit);
  Status Rename(const std::string& from, const std::string& to, Limit limit);
  Result<ContainerInfo> Inspect(const std::string& id, Limit limit);  // CSB_E_NOT_FOUND
  // All that carry the label, whatever their state.
  Result<std::vector<ListedContainer>> List(const std::string& label, Limit limit);
  Result<Usage> Stats(const std::string& id, Limit limit);
  Status PutArchive(const std::string& id, const std::string& folder, const std::string& tar, Limit limit);

  // One of that name already: no error, and its labels are given back.
  Result<Labels> CreateVolume(const std::string& name, const Labels& labels, uint64_t size, Limit limit);
  Result<Labels> InspectVolume(const std::string& name, Limit limit);  // CSB_E_NOT_FOUND
  Status RemoveVolume(const std::string& name, Limit limit);           // gone already: no error
  Result<std::vector<ListedVolume>> Volumes(const std::string& label, Limit limit);

  Status FindNetwork(const std::string& name, Limit limit);  // CSB_E_NOT_FOUND
  // A bridge without traffic between its containers; made when it is missing.
  Status EnsureBridge(const std::string& name, const Labels& labels, Limit limit);

  HttpClient& http() { return *client_; }
  // "/v1.41"; after a successful Info.
  std::string prefix();

 private:
  // Status 2xx, or an error that says what was to be done.
  Result<HttpResponse> Ask(const char* method, const std::string& path, const std::string& what, Limit limit,
                           std::string body = {}, const char* type = "application/json");
  Result<json::Document> AskJson(const std::string& path, const std::string& what, Limit limit);

  const std::unique_ptr<HttpClient> client_;
  std::mutex mutex_;
  EngineInfo info_;     // api empty: not asked yet
  bool known_ = false;  // all of info_
  std::chrono::steady_clock::time_point asked_;
};

// {"label":["a=b"]}, escaped for a query.
std::string LabelFilter(const std::string& label);

}  // namespace csb::docker
