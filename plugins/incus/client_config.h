// SPDX-License-Identifier: Apache-2.0
//
// client_config.h: what the incus client's own configuration knows: its remotes, their certificates, its own
// certificate. A user who works with a server by `incus` already has all that we need.
//
//   const ClientConfig config = ReadClientConfig(ClientFolders());
//   auto remote = config.Find("lab");          // also of a server's that is known by its address: FindServer
//
// Its folders are $INCUS_CONF or ~/.config/incus, and $INCUS_GLOBAL_CONF or /etc/incus; a remote of the
// first hides one of the second. The files are read, never written. YAML is bounded: 1 MiB, 16 levels,
// 100,000 values, no aliases.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/address.h"

namespace csb::incus {

struct ClientRemote {
  std::string name;
  std::string address;   // "https://10.0.0.5:8443", "unix://", "unix:///path", "https://images…/path"
  std::string protocol;  // "incus", "simplestreams", …
  std::string project;   // "": default
  std::string auth;      // "tls", "oidc"; "": tls
  bool is_public = false;
  std::string folder;  // of the configuration that it stands in

  std::string ServerCertificate() const { return folder + "/servercerts/" + name + ".crt"; }
};

struct ClientConfig {
  std::map<std::string, ClientRemote, std::less<>> remotes;
  std::string folder;            // of the user's own: client.crt, client.key; "": none
  std::optional<Error> problem;  // why remotes may be incomplete

  // CSB_E_NOT_FOUND names those there are; the problem, where there is one, instead. `images` is known
  // without any configuration.
  Result<ClientRemote> Find(std::string_view name) const;
  // An incus remote with this address, which it gives us the means to trust.
  std::optional<ClientRemote> FindServer(const Address& address) const;
};

// Of the environment, the first that counts first.
std::vector<std::string> ClientFolders();
// Folders and files that are not there are skipped; others that can't be read are the problem.
ClientConfig ReadClientConfig(const std::vector<std::string>& folders);
// One file's text; `where` stands in messages. Remotes get `folder`.
Result<std::map<std::string, ClientRemote, std::less<>>> ParseClientConfig(const std::string& text,
                                                                           const std::string& where,
                                                                           const std::string& folder);

}  // namespace csb::incus
