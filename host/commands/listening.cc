// SPDX-License-Identifier: Apache-2.0
#include "host/commands/listening.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace csb::host {
namespace {

// Whether others than this machine reach an inherited socket; what is no socket is taken for one they do.
bool ReachedByOthers(const std::string& descriptor) {
  int fd = -1;
  std::from_chars(descriptor.data(), descriptor.data() + descriptor.size(), fd);
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return true;
  if (address.ss_family == AF_UNIX) return false;
  std::array<char, INET6_ADDRSTRLEN> text;
  const void* number = address.ss_family == AF_INET
                           ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr)
                           : &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return inet_ntop(address.ss_family, number, text.data(), text.size()) == nullptr ||
         !IsLoopback(text.data());
}

}  // namespace

bool IsLoopback(std::string_view address) {
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  const std::string text(address);
  if (text == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

bool ListensPublicly(const Config& config, const Schema& schema, const std::vector<std::string>& frontends) {
  for (const std::string& name : frontends) {
    if (const auto inherited = config.List(name + ".listen_fds"); !inherited.empty()) {
      if (std::any_of(inherited.begin(), inherited.end(), ReachedByOthers)) return true;
      continue;
    }
    if (schema.Find(name + ".host") == nullptr) continue;
    const std::string address = config.Text(name + ".host");
    const bool has_key = config.Get(name + ".api_key") || config.Get(name + ".keys_file");
    if (address.empty() ? has_key : !IsLoopback(address)) return true;
  }
  return false;
}

Status GiveSockets(const std::vector<InheritedSocket>& sockets, const std::vector<std::string>& frontends,
                   const Schema& schema, Config* config) {
  std::vector<std::string> takers;
  for (const std::string& name : frontends)
    if (schema.Find(name + ".listen_fds") != nullptr) takers.push_back(name);
  for (const InheritedSocket& socket : sockets) {
    if (takers.empty())
      return Error{CSB_E_INVALID, "the service manager gave a socket, and no frontend here takes one",
                   "Name http in sandbox.frontends, or disable the socket's unit.", false};
    const bool named = std::find(takers.begin(), takers.end(), socket.name) != takers.end();
    const std::string key = (named ? socket.name : takers.front()) + ".listen_fds";
    std::string all = config->Text(key);
    all += (all.empty() ? "" : " ") + std::to_string(socket.fd);
    config->Replace(key, std::move(all), "the service manager");
  }
  return {};
}

}  // namespace csb::host
