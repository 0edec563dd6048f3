// SPDX-License-Identifier: Apache-2.0
//
// network.h: what a sandbox's interface is attached to. `none`: nothing. `bridge`: a managed bridge of ours
// with an access list (sandboxes apart, private ranges, metadata services and the machine's own addresses
// rejected), made on first use and put right where it differs. A name: that network, as it is.
//
//   Networks networks(host, engine, options, names);
//   auto attachment = networks.Prepare(limits);       // blocks
//   if (!attachment) return attachment.error();
//
// What stays open of the machine on our bridge: port 53 (the engine's name server, which asks those of its
// machine and so knows what they know; the engine lets it through before any list), and DHCP.
// Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/names.h"
#include "plugins/incus/network_rules.h"
#include "plugins/incus/options.h"

namespace csb::incus {

// Where an interface goes; network "": there is none.
struct Attachment {
  std::string network;
  bool ours = false;  // port isolation and filters hold
  // An init of ours runs no DHCP client: the address is given by us, and the engine refuses to start one that
  // another instance has. "" where the image's own services ask for one.
  std::string address;  // "10.84.3.17"
  std::string prefix;   // "24"
  std::string gateway;  // "10.84.3.1", the name server too
};

// Does an error of the engine, of a create that starts or of a start, say that another instance has the
// address? The instance is there then, and stopped.
bool IsAddressTaken(const Error& error);

class Networks {
 public:
  Networks(HostRef host, Engine& engine, const Options& options, const Names& names);

  // Makes the bridge and its list where they are missing or differ. An address is one that was free a moment
  // ago: where IsAddressTaken, delete the instance and ask again.
  Result<Attachment> Prepare(const Limits& limits);

 private:
  using Clock = std::chrono::steady_clock;

  Status EnsureBridgeAmongOthers();
  Status EnsureBridge();
  Result<NetworkInfo> MakeBridge(const std::vector<AddressRange>& rejected);
  Status FinishBridge();
  Status EnsureAcl(const std::vector<AddressRange>& rejected);
  // Of the machines that sandboxes run on, as the engine sees them, and of this one where the engine is here.
  std::vector<AddressRange> MachineAddresses();
  Result<json::Document> Get(const std::string& path, const std::string& what);
  Result<Attachment> PickAddress(Attachment attachment, const NetworkInfo& network);

  const HostRef host_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  std::mutex ensuring_;  // held while the bridge is made
  Clock::time_point ensured_{};
  NetworkInfo bridge_;
  std::mutex mutex_;
  std::map<uint32_t, Clock::time_point> picked_;  // given away, until the engine shows them
};

}  // namespace csb::incus
