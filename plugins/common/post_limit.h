// SPDX-License-Identifier: Apache-2.0
//
// post_limit.h: work on the host's workers, of which a plugin takes a few at most: they are everybody's, and
// work that waits for an engine that hangs would keep other plugins' from its turn.
//
//   auto posts = std::make_shared<PostLimit>(host, 4);
//   if (Status s = posts->Post([…] { … }); !s) return s.error();
//
// Thread-safe. What does not fit waits here, first in, first out.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

class PostLimit : public std::enable_shared_from_this<PostLimit> {
 public:
  // most: workers at once, 1 at least.
  PostLimit(HostRef host, int most) : host_(host), most_(most) {}

  // As HostRef::Post. An exception that leaves `work` is logged, and the next has its turn.
  Status Post(std::function<void()> work);

 private:
  void Run(std::function<void()> work);

  const HostRef host_;
  const int most_;
  std::mutex mutex_;
  std::deque<std::function<void()>> waiting_;
  int running_ = 0;
};

}  // namespace csb
