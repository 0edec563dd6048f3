// SPDX-License-Identifier: Apache-2.0
//
// names.h: what things are called in the engine and on the host. `key` is KeyOf(user id): a hash and no part
// of the id, since a network's name server tells a sandbox what its neighbours are called. The record has the
// id.
//
//   profile, volume     clara-<installation>-<key>: the record, and the workspace's first name
//   instance            clara-<installation>-<key>-<generation>, or from the pool
//                       clara-<installation>-pool-<host>-<n>, and so is that one's volume
//   <runtime>/<slot>/ctl        where hosts put their sockets; the slot is the instance's name without prefix
//   <state>/tools/<digest>      the agent, as containers mount it
//   <state>/locks/<key>         one host process of this machine at a time works on a user's sandbox
//   <state>/hosts/<host>        locked as long as that host process lives
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/identity.h"

namespace csb::incus {

// Config keys of instances, volumes and profiles.
inline constexpr char kKeyInstallation[] = "user.clara-sandbox.installation";
// sandbox pool workspace record move tools filler
inline constexpr char kKeyKind[] = "user.clara-sandbox.kind";
inline constexpr char kKeyUser[] = "user.clara-sandbox.user";  // the exact id; on a pooled one once claimed
inline constexpr char kKeyHost[] = "user.clara-sandbox.host";  // of a pooled one
inline constexpr char kKeyChannel[] = "user.clara-sandbox.channel";  // socket exec
inline constexpr char kKeyMachine[] = "user.clara-sandbox.machine";  // whose folders a socket's is among
inline constexpr char kKeyImage[] = "user.clara-sandbox.image";      // fingerprint that it was made of
inline constexpr char kKeyFilled[] = "user.clara-sandbox.filled";    // of a volume of tools

// 32 hex digits of the exact id's SHA-256.
inline std::string KeyOf(std::string_view user) {
  const std::string name = EngineName(user);
  return name.substr(name.size() - 32);
}

class Names {
 public:
  Names(std::string state_dir, std::string runtime_dir, std::string installation)
      : state_(std::move(state_dir)),
        runtime_(std::move(runtime_dir)),
        installation_(std::move(installation)) {}

  const std::string& installation() const { return installation_; }
  std::string prefix() const { return "clara-" + installation_.substr(0, 8) + "-"; }
  std::string Record(std::string_view key) const { return prefix() + std::string(key); }
  std::string Volume(std::string_view key) const { return prefix() + std::string(key); }
  // There while a host moves the user's files to another member.
  std::string Move(std::string_view key) const { return prefix() + "move-" + std::string(key); }
  std::string Instance(std::string_view key, uint64_t generation) const {
    return prefix() + std::string(key) + "-" + std::to_string(generation);
  }
  std::string Pooled(const std::string& host, uint64_t n) const {
    return prefix() + "pool-" + host + "-" + std::to_string(n);
  }
  // The volume with the agent, for engines that see no folder of ours; one on each member.
  std::string ToolsVolume(const std::string& digest) const { return prefix() + "tools-" + digest; }
  // What fills it, for a moment.
  std::string Filler(const std::string& host, uint64_t n) const {
    return prefix() + "filler-" + host + "-" + std::to_string(n);
  }
  bool IsOurs(std::string_view name) const { return name.starts_with(prefix()); }
  bool IsPooled(std::string_view name) const { return name.starts_with(prefix() + "pool-"); }
  // Of a record, a workspace or an instance that was not pooled; "" of any other name. A key is 32 hex
  // digits, so that it is never "pool-…".
  std::string_view KeyIn(std::string_view name) const {
    if (!IsOurs(name)) return {};
    const std::string_view key = name.substr(prefix().size(), 32);
    const bool hex = key.size() == 32 && std::all_of(key.begin(), key.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                     });
    return hex ? key : std::string_view();
  }
  // Of an instance: its name without the prefix, the same on every machine.
  std::string_view SlotOf(std::string_view instance) const {
    return IsOurs(instance) ? instance.substr(prefix().size()) : std::string_view();
  }
  // The network of `bridge`, and its access list: an interface's name has 15 characters at most.
  std::string Bridge() const { return "clara" + installation_.substr(0, 8); }

  std::string runtime() const { return runtime_; }
  std::string Slot(std::string_view slot) const { return runtime_ + "/" + std::string(slot); }
  std::string Control(std::string_view slot) const { return Slot(slot) + "/ctl"; }
  std::string Tools() const { return state_ + "/tools"; }
  std::string locks() const { return state_ + "/locks"; }
  std::string Lock(std::string_view key) const { return locks() + "/" + std::string(key); }
  std::string hosts() const { return state_ + "/hosts"; }
  const std::string& state() const { return state_; }

 private:
  std::string state_, runtime_, installation_;
};

}  // namespace csb::incus
