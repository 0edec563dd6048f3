// SPDX-License-Identifier: Apache-2.0
//
// docker_peer.h: the peer (peer.h) of Docker: its API over the unix socket, on a connection that is kept.
// Docker Engine API reference, 1.41.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/http_client.h"
#include "bench/peer.h"

namespace csb::bench {

class DockerPeer : public Peer {
 public:
  explicit DockerPeer(std::string socket_path) : socket_path_(socket_path), client_(std::move(socket_path)) {}

  bool Imitate(const std::string& sandbox) override;  // the whole HostConfig
  std::string Launch() override;
  bool Exec(const std::string& id, const std::vector<std::string>& argv,
            const std::string& expected) override;
  bool Remove(const std::string& id) override;  // DELETE ?force=1
  void RemoveVolumes() override;
  int Pooled(const std::string& installation) override;
  bool Put(const std::string& id, const std::string& folder, const std::string& tar);
  // `size`: of the archive.
  bool Get(const std::string& id, const std::string& path, uint64_t* size);

 private:
  bool Is(int status, const HttpReply& reply, const char* what);
  std::string Body(const std::string& volume) const;
  std::string Create();

  const std::string socket_path_;
  HttpClient client_;
  std::string template_;  // the create's body, with kVolume where its volume's name belongs
  std::vector<std::string> volumes_;
};

// A tar with one file of `size` bytes in it.
std::string TarOf(const std::string& name, uint64_t size);

}  // namespace csb::bench
