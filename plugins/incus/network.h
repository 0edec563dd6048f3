// SPDX-License-Identifier: Apache-2.0
//
// network.h: what a sandbox's interface is attached to. `none`: nothing. `bridge`: a managed bridge of ours
// with an access list (sandboxes apart, private ranges, metadata services and this machine's addresses
// rejected; the bridge's own name server is let through, and said so), made on first use. A name: that
// network, as it is.
//
//   Networks networks(host, engine, options, names);
//   auto attachment = networks.Prepare(limits);       // blocks
//   if (!attachment) return attachment.error();
//
// Thread-safe.
#pragma once

#include <mutex>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/names.h"
#include "plugins/incus/options.h"

namespace csb::incus {

// Where an interface goes; network "": there is none.
struct Attachment {
  std::string network;
  bool ours = false;  // port isolation and filters hold
  // An init of ours runs no DHCP client: the address is given by us, and the engine refuses one that another
  // instance has. "" where the image's own services ask for one, and for a network that is not ours.
  std::string address;     // "10.84.3.17"
  std::string prefix;      // "24"
  std::string gateway;     // "10.84.3.1", the name server too
};

class Networks {
 public:
  Networks(HostRef host, Engine& engine, const Options& options, const Names& names);

  // Makes the bridge and its list where they are missing or differ. An address is one that was free a moment
  // ago: on CSB_E_CONFLICT of the create that uses it, Prepare is asked again.
  Result<Attachment> Prepare(const Limits& limits);

 private:
  Status EnsureBridge();
  Result<Attachment> PickAddress(Attachment attachment);

  const HostRef host_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  std::mutex mutex_;
  bool ensured_ = false;
};

}  // namespace csb::incus
