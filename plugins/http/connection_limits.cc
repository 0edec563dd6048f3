// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/connection_limits.h"

namespace csb::http {
namespace {

std::string KeyOf(boost::asio::ip::address address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}

}  // namespace

std::unique_ptr<ConnectionLimits::Slot> ConnectionLimits::Admit(const boost::asio::ip::address& address) {
  std::string key = KeyOf(address);
  std::lock_guard lock(mutex_);
  if (open_ >= total_) return nullptr;
  size_t& here = by_address_[key];
  if (here >= per_address_) return nullptr;
  ++here;
  ++open_;
  return std::make_unique<Slot>(*this, std::move(key));
}

size_t ConnectionLimits::open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

void ConnectionLimits::Release(const std::string& key) {
  std::lock_guard lock(mutex_);
  --open_;
  const auto found = by_address_.find(key);
  if (--found->second == 0) by_address_.erase(found);
}

}  // namespace csb::http
