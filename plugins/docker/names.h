// SPDX-License-Identifier: Apache-2.0
//
// names.h: what things are called in the engine and on the host. `name` is KeyOf(user id): a hash and no part
// of the id, since an engine's name server tells a sandbox on a network what its neighbours are called. The
// label has the id.
//
//   container, volume   clara-<installation>-<name>, or from the pool clara-<installation>-pool-<host>-<n>
//   <state>/users/<name>.json   the record (record.h)
//   <runtime>/<slot>/ctl        where hosts put their sockets; the slot is the name that the container was
//                               made with, since a mount can't be changed when a pooled one is renamed
//   <state>/locks/<name>        one host process at a time works on a user's sandbox
//   <state>/hosts/<host>        locked as long as that host process lives: in the state folder, since that is
//                               what makes host processes one installation
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/identity.h"

namespace csb::docker {

inline constexpr char kLabelInstallation[] = "clara-sandbox.installation";
inline constexpr char kLabelKind[] = "clara-sandbox.kind";  // sandbox pool agent network
inline constexpr char kLabelUser[] = "clara-sandbox.user";  // the exact id; not on pooled ones
inline constexpr char kLabelSlot[] = "clara-sandbox.slot";
inline constexpr char kLabelHost[] = "clara-sandbox.host";        // of a pooled one
inline constexpr char kLabelChannel[] = "clara-sandbox.channel";  // socket exec

// Of KIND-MAKER-NUMBER, as what belongs to no user is called, the maker; "" of any other name. A user may be
// called anything, but a key is 32 hex digits without a dash.
inline std::string_view MakerOf(std::string_view slot, std::string_view kind) {
  if (!slot.starts_with(kind) || slot.size() <= kind.size() || slot[kind.size()] != '-') return {};
  slot.remove_prefix(kind.size() + 1);
  const size_t dash = slot.find('-');
  if (dash == std::string_view::npos) return {};
  const std::string_view number = slot.substr(dash + 1);
  const bool fits = !number.empty() && number.size() <= 20 &&
                    std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  return fits ? slot.substr(0, dash) : std::string_view();
}

// 32 hex digits of the exact id's SHA-256.
inline std::string KeyOf(std::string_view user) {
  const std::string name = EngineName(user);
  return name.substr(name.size() - 32);
}

class Names {
 public:
  Names(std::string state_dir, std::string runtime_dir, std::string data_dir, std::string installation)
      : state_(std::move(state_dir)),
        runtime_(std::move(runtime_dir)),
        data_(std::move(data_dir)),
        installation_(std::move(installation)) {}

  const std::string& installation() const { return installation_; }
  std::string InstallationFilter() const { return std::string(kLabelInstallation) + "=" + installation_; }
  std::string prefix() const { return "clara-" + installation_.substr(0, 8) + "-"; }
  std::string Container(std::string_view name) const { return prefix() + std::string(name); }
  std::string Pooled(const std::string& host, uint64_t n) const {
    return prefix() + "pool-" + host + "-" + std::to_string(n);
  }
  bool IsPooled(std::string_view container) const {
    return container.starts_with(prefix()) && !MakerOf(container.substr(prefix().size()), "pool").empty();
  }
  // The user's part of a container's name; empty when it is not one of ours.
  std::string_view NameOf(std::string_view container) const {
    return container.starts_with(prefix()) && !IsPooled(container) ? container.substr(prefix().size())
                                                                   : std::string_view();
  }

  std::string records() const { return state_ + "/users"; }
  std::string Record(std::string_view name) const { return records() + "/" + std::string(name) + ".json"; }
  std::string runtime() const { return runtime_; }
  std::string Slot(std::string_view slot) const { return runtime_ + "/" + std::string(slot); }
  std::string Control(std::string_view slot) const { return Slot(slot) + "/ctl"; }
  std::string Profile() const { return state_ + "/seccomp.json"; }
  std::string locks() const { return state_ + "/locks"; }
  std::string Lock(std::string_view name) const { return locks() + "/" + std::string(name); }
  std::string hosts() const { return state_ + "/hosts"; }
  // A workspace in a folder; "" when workspaces are volumes.
  bool folders() const { return !data_.empty(); }
  std::string data() const { return data_; }
  std::string Folder(std::string_view slot) const { return data_ + "/" + std::string(slot); }

 private:
  std::string state_, runtime_, data_, installation_;
};

}  // namespace csb::docker
