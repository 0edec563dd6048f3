// SPDX-License-Identifier: Apache-2.0
//
// peer.h: what a program does that uses an engine's own API and nothing of ours, as fast as it can.
//
//   peer->Imitate("clara-1f-alice");              // same image, same limits
//   const std::string id = peer->Launch();
//   if (!id.empty() && peer->Exec(id, {"true"}, "")) …
//
// What fails is told on stderr. Not thread-safe: one for each thread.
#pragma once

#include <string>
#include <vector>

namespace csb::bench {

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // What is launched from here on is made as this sandbox was, with a volume of its own and `sleep` instead
  // of an agent.
  virtual bool Imitate(const std::string& sandbox) = 0;
  // Of the installation that the imitated one belongs to.
  const std::string& installation() const { return installation_; }

  virtual std::string Launch() = 0;  // creates and starts; id, or "" when it failed
  // Runs a command as the sandboxes' user and reads its output until the end. False as well when that is not
  // `expected`.
  virtual bool Exec(const std::string& id, const std::vector<std::string>& argv,
                    const std::string& expected) = 0;
  virtual bool Remove(const std::string& id) = 0;  // the volume stays
  virtual void RemoveVolumes() = 0;                // of all that were launched
  // What runs in the pool of an installation's hosts; -1 when the engine does not say.
  virtual int Pooled(const std::string& installation) = 0;

 protected:
  std::string installation_;
};

}  // namespace csb::bench
