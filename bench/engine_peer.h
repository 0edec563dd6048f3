// SPDX-License-Identifier: Apache-2.0
//
// engine_peer.h: what a program does that uses a Docker Engine's API and nothing of ours, as fast as it can:
// over the unix socket, on a connection that is kept. Docker Engine API reference, 1.41.
//
//   EnginePeer peer("/var/run/docker.sock");
//   peer.Imitate("clara-1f-alice");                       // same image, HostConfig, user
//   const std::string id = peer.Create();
//   peer.Start(id) && peer.Exec(id, {"true"}, "");
//
// What fails is told on stderr. Not thread-safe: one for each thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/http_client.h"

namespace csb::bench {

class EnginePeer {
 public:
  explicit EnginePeer(std::string socket_path) : socket_path_(socket_path), client_(std::move(socket_path)) {}

  // Containers made from here on are made as this one was, with a volume of their own and `sleep` instead of
  // an agent.
  bool Imitate(const std::string& container);
  // The label of the installation that the imitated one belongs to.
  const std::string& installation() const { return installation_; }

  std::string Create();  // id, or "" when it failed
  bool Start(const std::string& id);
  // Runs a command as the sandboxes' user and reads its output until the end. False as well when that is not
  // `expected`.
  bool Exec(const std::string& id, const std::vector<std::string>& argv, const std::string& expected);
  bool Remove(const std::string& id);  // DELETE ?force=1; the volume stays
  // The volumes of all that were created.
  void RemoveVolumes();
  bool Put(const std::string& id, const std::string& folder, const std::string& tar);
  // `size`: of the archive.
  bool Get(const std::string& id, const std::string& path, uint64_t* size);
  // Running containers in the pool of an installation's hosts; -1 when the engine does not say.
  int Pooled(const std::string& installation);

 private:
  bool Is(int status, const HttpReply& reply, const char* what);
  std::string Body(const std::string& volume) const;

  const std::string socket_path_;
  HttpClient client_;
  std::string template_;  // the create's body, with kVolume where its volume's name belongs
  std::string installation_;
  std::vector<std::string> volumes_;
};

// A tar with one file of `size` bytes in it.
std::string TarOf(const std::string& name, uint64_t size);

}  // namespace csb::bench
