// SPDX-License-Identifier: Apache-2.0
//
// steps.h: what clara-sandbox-launch does, one step a function. Each ends the process with a message
// on the report descriptor when it fails: nothing after a failed step can be right.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace csb::bwrap::launch {

class Request {
 public:
  // Until the other side has closed.
  static Request Read(int fd);
  bool empty() const { return items_.empty(); }
  // The first value of a key, "" when there is none.
  const std::string& Get(std::string_view key) const;
  std::vector<std::string> All(std::string_view key) const;
  bool Has(std::string_view key) const { return !Get(key).empty(); }
  unsigned Number(std::string_view key) const;

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

// "!what: strerror" to the host, then exit(1).
[[noreturn]] void Fail(const std::string& what);
[[noreturn]] void FailPlain(const std::string& message);

void JoinCgroups(const std::vector<std::string>& procs_files);
// A mount namespace of our own in which the sources of bwrap's binds stand under kStage.
void StageMounts(const Request& request);
// Attaches the image to a free loop device that goes with its last user, and mounts it.
// `fd` is the image opened for writing, `image` its name for messages; a fresh one gets its owner.
void MountImage(int fd, const std::string& image, const std::string& folder, unsigned owner);
// A mount namespace in which /dev/net/tun may be opened by `owner`, whatever the host's permissions.
void StageTun(unsigned owner);
// A user namespace owned by the agent's uid: 0 → agent, 1000 → user, none below it. Its descriptor.
int MakeUserNamespace(unsigned agent, unsigned user);
void SetLimits(const Request& request);
void BecomeUid(unsigned uid);

}  // namespace csb::bwrap::launch
