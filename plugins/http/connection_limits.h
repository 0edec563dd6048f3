// SPDX-License-Identifier: Apache-2.0
//
// connection_limits.h: how many connections there may be, in all and from one address. An IPv6 host
// counts as its /64, which is what one customer gets.
//
//   auto slot = limits.Admit(address);   // nullptr: refuse; the slot is given back by its destructor
//
// Thread-safe.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace csb::http {

class ConnectionLimits {
 public:
  class Slot {
   public:
    Slot(ConnectionLimits& limits, std::string key) : limits_(limits), key_(std::move(key)) {}
    ~Slot() { limits_.Release(key_); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    ConnectionLimits& limits_;
    const std::string key_;
  };

  ConnectionLimits(size_t total, size_t per_address) : total_(total), per_address_(per_address) {}
  std::unique_ptr<Slot> Admit(const boost::asio::ip::address& address);
  size_t open() const;

 private:
  void Release(const std::string& key);

  const size_t total_, per_address_;
  mutable std::mutex mutex_;
  size_t open_ = 0;
  std::unordered_map<std::string, size_t> by_address_;
};

}  // namespace csb::http
