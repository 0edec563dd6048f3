// SPDX-License-Identifier: Apache-2.0
//
// remotes.h: from the words of incus.remote to where requests go and why the server there is believed, and
// from the words of incus.image to what a server is asked for.
//
//   auto remote = FindRemote("lab", state + "/incus");
//   auto client = HttpClient::Create(reactor, remote->endpoint);
//   auto image = ParseImage("images:debian/12/cloud", *remote);
//
// A remote is
//   local              the socket here: $INCUS_SOCKET, $INCUS_DIR/unix.socket, /var/lib/incus/unix.socket, or
//                      /run/incus/unix.socket where that one is not there
//   unix:///path       another socket
//   https://host:8443  a server that `clara-sandbox incus trust` was told of, or that the incus client knows
//   NAME               a remote of the incus client's (client_config.h), with its certificate
// Nothing is asked of any server here. Errors: CSB_E_INVALID words that are none of these, a remote that runs
// no instances; CSB_E_NOT_FOUND no such remote; CSB_E_UNAUTHORIZED a server that nobody has told us to trust.
#pragma once

#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/incus/client_config.h"

namespace csb::incus {

struct Remote {
  HttpEndpoint endpoint;
  std::string name;     // as it was asked for, for messages
  std::string project;  // its own; "": none is set
  ClientConfig client;  // what image names are looked up in
};

// folder: of our state, with client.crt and servers/ (certificate.h). clients: of the incus client.
Result<Remote> FindRemote(const std::string& name, const std::string& folder,
                          const std::vector<std::string>& clients = ClientFolders());

struct ImageRef {
  std::string server;       // "https://images.linuxcontainers.org"; "" when local
  std::string protocol;     // "simplestreams", "incus"; "" when local
  std::string alias;        // or else
  std::string fingerprint;  // 12 to 64 hexadecimal digits
  std::string certificate;  // of the server, PEM; "": the system's authorities vouch for it
  bool local = false;       // the server that makes the instance has it
};

// ALIAS, FINGERPRINT, or REMOTE:ALIAS and REMOTE:FINGERPRINT with a remote of the client's; `local:` and the
// name of `remote` itself mean what the server has. Nothing is asked of any server.
Result<ImageRef> ParseImage(const std::string& text, const Remote& remote);

}  // namespace csb::incus
