// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/peers.h"

#include <sys/random.h>

#include <array>
#include <cerrno>

namespace csb::mcp {

std::string RandomName() {
  std::array<unsigned char, 16> bytes{};
  size_t have = 0;
  while (have < bytes.size()) {  // getrandom(2): 16 bytes come whole, once the kernel has started
    const ssize_t n = ::getrandom(bytes.data() + have, bytes.size() - have, 0);
    if (n > 0) have += static_cast<size_t>(n);
    if (n < 0 && errno != EINTR) return {};
  }
  std::string name;
  for (const unsigned char byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

void Peers::Add(const std::string& scope, std::string_view id, std::weak_ptr<PeerCall> call) {
  const std::lock_guard lock(mu_);
  calls_[{scope, std::string(id)}] = std::move(call);
}

void Peers::Remove(const std::string& scope, std::string_view id, const PeerCall* call) {
  std::shared_ptr<PeerCall> held;  // is let go of without the lock
  const std::lock_guard lock(mu_);
  const auto it = calls_.find({scope, std::string(id)});
  if (it == calls_.end()) return;
  held = it->second.lock();
  // A later request may have taken the same id.
  if (held == nullptr || held.get() == call) calls_.erase(it);
}

void Peers::Cancel(const std::string& scope, std::string_view id) {
  std::shared_ptr<PeerCall> call;
  {
    const std::lock_guard lock(mu_);
    const auto it = calls_.find({scope, std::string(id)});
    if (it == calls_.end()) return;
    call = it->second.lock();
  }
  if (call) call->GiveUp();
}

std::string Peers::Question(const std::string& scope, Then then) {
  const std::string name = RandomName();
  if (name.empty()) return {};
  std::string id = "\"" + name + "\"";
  const std::lock_guard lock(mu_);
  if (questions_.size() >= kMaxQuestions) return {};
  questions_.emplace(Name{scope, id}, std::move(then));
  return id;
}

void Peers::Answer(const std::string& scope, std::string_view id, const json::Value& message) {
  Then then;
  {
    const std::lock_guard lock(mu_);
    const auto it = questions_.find({scope, std::string(id)});
    if (it == questions_.end()) return;
    then = std::move(it->second);
    questions_.erase(it);
  }
  then(message);
}

void Peers::Forget(const std::string& scope, std::string_view id) {
  Then then;
  const std::lock_guard lock(mu_);
  const auto it = questions_.find({scope, std::string(id)});
  if (it == questions_.end()) return;
  then = std::move(it->second);
  questions_.erase(it);
}

}  // namespace csb::mcp
