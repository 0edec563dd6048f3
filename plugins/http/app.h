// SPDX-License-Identifier: Apache-2.0
//
// app.h: what all requests share. Made before the first thread starts, constant afterwards but for
// what says so.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/service_client.h"
#include "plugins/http/auth.h"
#include "plugins/http/idempotency.h"
#include "plugins/http/options.h"
#include "plugins/http/origin.h"
#include "plugins/http/rate_limit.h"
#include "plugins/mcp/peers.h"
#include "plugins/mcp/provider.h"

namespace boost::asio {
class io_context;
}

namespace csb::http {

class WayBack;  // service_call.h

// Bytes that bodies and buffered answers hold, all connections together. Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit) : limit_(limit) {}
  bool Take(uint64_t bytes) {
    if (used_.fetch_add(bytes) + bytes <= limit_) return true;
    used_.fetch_sub(bytes);
    return false;
  }
  void GiveBack(uint64_t bytes) { used_.fetch_sub(bytes); }
  uint64_t used() const { return used_; }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
};

// A share of the budget that is given back by the destructor.
class MemoryShare {
 public:
  explicit MemoryShare(MemoryBudget& budget) : budget_(budget) {}
  ~MemoryShare() { budget_.GiveBack(bytes_); }
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;
  bool Grow(uint64_t bytes) {
    if (!budget_.Take(bytes)) return false;
    bytes_ += bytes;
    return true;
  }

 private:
  MemoryBudget& budget_;
  uint64_t bytes_ = 0;
};

struct App {
  App(Settings s, HostRef h, ServiceClient c)
      : settings(std::move(s)),
        host(h),
        service(c),
        limiter(settings.rate_limit),
        memory(settings.max_buffered) {}

  Settings settings;
  HostRef host;
  ServiceClient service;
  RateLimiter limiter;      // thread-safe
  MemoryBudget memory;      // thread-safe
  Idempotency idempotency;  // thread-safe
  OriginPolicy origins;
  std::shared_ptr<mcp::Provider> mcp;  // what /mcp serves
  std::shared_ptr<mcp::Peers> mcp_peers = std::make_shared<mcp::Peers>();
  std::string openapi;      // the document
  std::string docs;         // the page
  std::string docs_fields;  // its header fields
  // Seconds for a raw transfer, the most that the service takes; http.min_rate bounds it by size.
  double raw_timeout = 3600;
  std::string request_id_prefix;
  std::string instance;  // 16 hex digits of this start, so that clients notice another one
  std::atomic<uint64_t> requests{0};
};

// What one thread's connections share; touched on that thread only.
struct ThreadState {
  boost::asio::io_context& io;
  std::shared_ptr<WayBack> way;  // to io, for what may outlive it
  std::shared_ptr<const KeyRing> keys;
};

}  // namespace csb::http
