// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/remotes.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "plugins/common/printable.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/certificate.h"

namespace csb::incus {
namespace {

constexpr size_t kMaxImage = 512;

Error Invalid(std::string message, std::string hint) {
  return {CSB_E_INVALID, std::move(message), std::move(hint), false};
}

std::string LocalSocket() {
  if (const char* socket = getenv("INCUS_SOCKET"); socket != nullptr && *socket != 0) return socket;
  if (const char* folder = getenv("INCUS_DIR"); folder != nullptr && *folder != 0)
    return std::string(folder) + "/unix.socket";
  const std::string usual = "/var/lib/incus/unix.socket", other = "/run/incus/unix.socket";
  return !Exists(usual) && Exists(other) ? other : usual;
}

Result<HttpEndpoint> SocketEndpoint(const std::string& path) {
  if (path.empty() || path.front() != '/')
    return Invalid("incus.remote: \"" + Printable(path, 200) + "\" is no absolute path of a socket",
                   "unix:///var/lib/incus/unix.socket is the usual one");
  return HttpEndpoint{.url = "http://incus", .unix_socket = path};
}

// With the certificate that the server is known by, and ours.
HttpEndpoint Pinned(const Address& address, std::string server, Identity mine) {
  return {.url = address.Url(),
          .ca = std::move(server),
          .certificate = std::move(mine.certificate),
          .key = std::move(mine.key),
          .any_name = true,
          .tls13 = true};
}

// A server by the client's remote: its pin and the client's own certificate.
Result<HttpEndpoint> ClientsEndpoint(const ClientRemote& remote, const Address& address,
                                     const std::string& clients_folder) {
  if (remote.auth == "oidc")
    return Invalid(
        "the incus client logs in at its remote " + remote.name + " by OpenID Connect, which we can't",
        "make a token there (`incus config trust add clara-sandbox`) and run `clara-sandbox incus "
        "trust TOKEN`, then set incus.remote=" +
            address.Url());
  auto mine = FindIdentity(clients_folder);
  if (!mine)
    return Error{mine.error().code == CSB_E_NOT_FOUND ? CSB_E_UNAUTHORIZED : mine.error().code,
                 "the incus client's certificate for its remote " + remote.name + ": " + mine.error().message,
                 "`incus remote add` makes one; or run `clara-sandbox incus trust TOKEN`", false};
  HttpEndpoint out = Pinned(address, remote.ServerCertificate(), *mine);
  if (Exists(out.ca)) return out;
  // As the client does: authorities vouch for the server's name then.
  out.any_name = false;
  const std::string authority = clients_folder + "/client.ca";
  out.ca = Exists(authority) ? authority : "";
  return out;
}

Result<HttpEndpoint> ServerEndpoint(const Address& address, const std::string& folder,
                                    const ClientConfig& client) {
  const std::string pin = PinOf(folder, address);
  if (Exists(pin)) {
    auto mine = FindIdentity(folder);
    if (mine) return Pinned(address, pin, *mine);
    Error error = mine.error();
    if (error.code == CSB_E_NOT_FOUND) {
      error.code = CSB_E_UNAUTHORIZED;
      error.hint = "have the server trust a new one: `clara-sandbox incus trust TOKEN`";
    }
    return error;
  }
  if (const auto known = client.FindServer(address)) return ClientsEndpoint(*known, address, client.folder);
  return Error{
      CSB_E_UNAUTHORIZED, address.Url() + ": nobody has told us to trust this Incus server",
      "run `incus config trust add clara-sandbox` there, and `clara-sandbox incus trust TOKEN` here with "
      "the token that it prints" +
          (client.problem ? "; " + client.problem->message : std::string()),
      false};
}

Result<HttpEndpoint> NamedEndpoint(const ClientRemote& remote, const ClientConfig& client) {
  if (remote.protocol != "incus" || remote.is_public)
    return Invalid("incus.remote: the incus client's remote " + remote.name +
                       " has images only, it runs no "
                       "instances",
                   "`incus remote list` shows which ones are incus servers that are not public");
  if (remote.address == "unix://" || remote.address == "unix:") return SocketEndpoint(LocalSocket());
  if (remote.address.starts_with("unix:")) {
    const std::string_view path = std::string_view(remote.address).substr(5);
    return SocketEndpoint(std::string(path.starts_with("//") ? path.substr(2) : path));
  }
  auto address = ParseAddress(remote.address);
  if (!address) return address.error();
  return ClientsEndpoint(remote, *address, client.folder);
}

bool IsFingerprint(std::string_view text) {
  return text.size() >= 12 && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

Result<Remote> FindRemote(const std::string& name, const std::string& folder,
                          const std::vector<std::string>& clients) {
  Remote out;
  out.name = name;
  out.client = ReadClientConfig(clients);
  const auto endpoint = [&]() -> Result<HttpEndpoint> {
    if (name.empty() || name == "local" || name == "unix://") return SocketEndpoint(LocalSocket());
    if (name.starts_with("unix://")) return SocketEndpoint(name.substr(7));
    if (name.starts_with("https://")) {
      auto address = ParseAddress(name);
      if (!address) return address.error();
      return ServerEndpoint(*address, folder, out.client);
    }
    if (name.find("://") != std::string::npos || name.find('/') != std::string::npos)
      return Invalid("incus.remote: \"" + Printable(name, 200) + "\" is no way to an Incus server",
                     "local, unix:///path, https://host:8443, or a remote's name in the incus client");
    auto remote = out.client.Find(name);
    if (!remote) {
      Error error = remote.error();
      if (error.code == CSB_E_NOT_FOUND) error.message = "incus.remote: " + error.message;
      return error;
    }
    out.project = remote->project;
    return NamedEndpoint(*remote, out.client);
  }();
  if (!endpoint) return endpoint.error();
  out.endpoint = *endpoint;
  if (out.name.empty()) out.name = "local";
  // A remote that is known by its address has its project, too.
  if (out.project.empty() && name.starts_with("https://"))
    if (const auto address = ParseAddress(name); address)
      if (const auto known = out.client.FindServer(*address)) out.project = known->project;
  return out;
}

Result<ImageRef> ParseImage(const std::string& text, const Remote& remote) {
  const Error wrong =
      Invalid("\"" + Printable(text, 200) + "\" names no image",
              "write it as the incus client does: images:debian/12/cloud, a local alias, or a "
              "fingerprint");
  const size_t colon = text.find(':');
  const std::string where = colon == std::string::npos ? "" : text.substr(0, colon);
  const std::string what = colon == std::string::npos ? text : text.substr(colon + 1);
  if (what.empty() || text.size() > kMaxImage || colon == 0 || what.starts_with("//") ||
      Printable(text, kMaxImage) != text || text.find(' ') != std::string::npos)
    return wrong;
  ImageRef out;
  (IsFingerprint(what) ? out.fingerprint : out.alias) = what;
  if (where.empty() || where == "local" || where == remote.name) {
    out.local = true;
    return out;
  }
  auto source = remote.client.Find(where);
  if (!source) {
    Error error = source.error();
    if (error.code == CSB_E_NOT_FOUND)
      error.message = "the image \"" + Printable(text, 200) + "\": " + error.message;
    return error;
  }
  if (!source->address.starts_with("https://"))
    return Invalid(
        "the image \"" + Printable(text, 200) + "\" is of a remote that only this machine can reach",
        "copy it to the server (`incus image copy`), and name it by its alias there");
  out.server = source->address;
  out.protocol = source->protocol;
  while (out.server.ends_with('/')) out.server.pop_back();
  if (out.protocol == "incus" && Exists(source->ServerCertificate())) {
    auto certificate = ReadSmallFile(source->ServerCertificate());
    if (!certificate) return certificate.error();
    out.certificate = *std::move(certificate);
  }
  return out;
}

}  // namespace csb::incus
