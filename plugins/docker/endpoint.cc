// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/endpoint.h"

#include <unistd.h>

namespace csb::docker {
namespace {

Error Wrong(std::string message, std::string hint) {
  return {CSB_E_INVALID, "docker.host: " + std::move(message), std::move(hint), false};
}

bool IsAuthority(const std::string& text) {
  if (text.empty() || text.size() > 255) return false;
  for (const char c : text)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' &&
        c != '-' && c != ':' && c != '[' && c != ']')
      return false;
  return true;
}

bool HasPort(const std::string& authority) {
  const size_t colon = authority.rfind(':');
  return colon != std::string::npos && authority.find(']', colon) == std::string::npos;
}

}  // namespace

Result<HttpEndpoint> ParseEndpoint(const std::string& host, bool tls, const std::string& certificates) {
  HttpEndpoint out;
  const size_t mark = host.find("://");
  const std::string scheme = mark == std::string::npos ? "" : host.substr(0, mark);
  std::string rest = mark == std::string::npos ? "" : host.substr(mark + 3);
  if (scheme == "unix") {
    if (rest.empty() || rest.front() != '/')
      return Wrong("\"" + host + "\" names no absolute path", "unix:///var/run/docker.sock is the usual one");
    out.url = "http://docker";
    out.unix_socket = rest;
    return out;
  }
  if (scheme == "ssh")
    return Wrong("ssh:// is not supported",
                 "forward the socket (ssh -NL /tmp/docker.sock:/var/run/docker.sock USER@HOST) and set "
                 "DOCKER_HOST=unix:///tmp/docker.sock");
  if (scheme != "tcp" && scheme != "http" && scheme != "https")
    return Wrong("\"" + host + "\" has no known scheme", "unix:///path or tcp://host:port");
  while (!rest.empty() && rest.back() == '/') rest.pop_back();
  if (!IsAuthority(rest)) return Wrong("\"" + host + "\" names no host", "tcp://host:port");
  tls = tls || scheme == "https";
  if (!HasPort(rest)) rest += tls ? ":2376" : ":2375";
  out.url = (tls ? "https://" : "http://") + rest;
  if (!tls) return out;
  out.ca = certificates + "/ca.pem";
  out.certificate = certificates + "/cert.pem";
  out.key = certificates + "/key.pem";
  for (const std::string* file : {&out.ca, &out.certificate, &out.key})
    if (access(file->c_str(), R_OK) != 0)
      return Error{CSB_E_INVALID, "docker.cert_path: " + *file + " can't be read",
                   "set docker.cert_path (DOCKER_CERT_PATH) to the folder of ca.pem, cert.pem and key.pem",
                   false};
  return out;
}

}  // namespace csb::docker
