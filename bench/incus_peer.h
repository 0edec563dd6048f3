// SPDX-License-Identifier: Apache-2.0
//
// incus_peer.h: the peer (peer.h) of Incus: its REST API over the unix socket on a connection that is kept,
// and a command's streams over websockets, as `incus exec` has them.
#pragma once

#include <string>
#include <vector>

#include "bench/http_client.h"
#include "bench/peer.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::bench {

class IncusPeer : public Peer {
 public:
  explicit IncusPeer(std::string socket_path) : socket_path_(socket_path), client_(std::move(socket_path)) {}

  bool Imitate(const std::string& sandbox) override;  // and on the same member
  std::string Launch() override;
  bool Exec(const std::string& id, const std::vector<std::string>& argv,
            const std::string& expected) override;
  bool Remove(const std::string& id) override;
  void RemoveVolumes() override;
  int Pooled(const std::string& installation) override;

 private:
  // The answer's metadata; what is begun is waited for.
  bool Do(const HttpReply& reply, const char* what, json::Document* metadata = nullptr);
  bool Wait(const std::string& operation, const char* what, json::Document* metadata);
  std::string OnMember(const std::string& path) const;

  const std::string socket_path_;
  HttpClient client_;
  std::string template_;  // the create's body, with kName where its name and its volume's belong
  std::string pool_, member_;
  std::vector<std::string> volumes_;
};

}  // namespace csb::bench
