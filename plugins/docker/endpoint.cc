// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/endpoint.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace csb::docker {
namespace {

Error Wrong(std::string message, std::string hint) {
  return {CSB_E_INVALID, "docker.host: " + std::move(message), std::move(hint), false};
}

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// HOST, HOST:PORT, [IPv6] or [IPv6]:PORT; `port` gets "" when there is none.
bool SplitAuthority(const std::string& text, std::string* host, std::string* port) {
  const bool bracketed = text.starts_with('[');
  const size_t colon = bracketed ? text.find(':', text.find(']')) : text.find(':');
  *host = text.substr(0, colon);
  *port = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (bracketed) {
    in6_addr address;
    if (!host->ends_with(']') ||
        inet_pton(AF_INET6, host->substr(1, host->size() - 2).c_str(), &address) != 1)
      return false;
  } else if (host->empty() || host->size() > 253 || !IsLetterOrDigit(host->front()) ||
             !std::all_of(host->begin(), host->end(),
                          [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '-' || c == '_'; })) {
    return false;
  }
  if (colon == std::string::npos) return true;
  uint16_t number = 0;
  const char* end = port->data() + port->size();
  const auto parsed = std::from_chars(port->data(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end && number != 0;
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
  std::string name, port;
  if (!SplitAuthority(rest, &name, &port))
    return Wrong("\"" + host + "\" names no host and port", "tcp://host:port, tcp://[IPv6 address]:port");
  tls = tls || scheme == "https";
  if (port.empty()) port = tls ? "2376" : "2375";
  out.url = (tls ? "https://" : "http://") + name + ":" + port;
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
