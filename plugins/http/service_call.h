// SPDX-License-Identifier: Apache-2.0
//
// service_call.h: an operation at the service whose events arrive on the thread of an io_context,
// a batch at a time: what comes while a batch waits joins it, so a short command costs one wake-up.
//
//   auto call = ServiceCall::Start(client, way, request, *this);  // on io's thread; way: a WayBack to io
//   …OnOutput, OnEvent, OnInputCredit, OnDone of *this…           // on io's thread
//   (*call)->Abandon();                                            // cancels; no event after it
//
// Memory held is bounded by the credit that was given. An operation that its connection abandoned may end
// after the io_context has: its events then go nowhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/common/unique_fd.h"

namespace boost::asio {
class io_context;
}

namespace csb::http {

// From any thread to an io_context, for as long as there is one.
class WayBack {
 public:
  explicit WayBack(boost::asio::io_context& io);
  ~WayBack();
  // False: there is no io_context any more, and `work` is dropped.
  bool Post(std::function<void()> work);
  // On io's thread, or before there is one: what others post wakes it by a descriptor. io_context's own post
  // does so with its lock held, which the thread it wakes wants first of all.
  void Listen();
  // On io's thread: nothing here keeps it from ending any more.
  void Rest();
  // Nothing is posted once it has returned.
  void Close();

 private:
  struct Wake;
  void Await();
  void RunPosted();

  std::mutex mutex_;
  boost::asio::io_context* io_;
  UniqueFd ring_;               // written to without the lock
  std::unique_ptr<Wake> wake_;  // hears it; null: io_context's own way
  std::vector<std::function<void()>> posted_;
};

// Hears the events; outlives the call or abandons it. An event may abandon the call.
class CallEvents {
 public:
  virtual void OnOutput(uint32_t stream, std::string data) = 0;
  virtual void OnEvent(uint32_t event, std::string_view json) = 0;
  virtual void OnInputCredit(uint64_t bytes) = 0;
  virtual void OnDone(const OutcomeView& outcome) = 0;

 protected:
  ~CallEvents() = default;
};

class ServiceCall : public CallHandler, public std::enable_shared_from_this<ServiceCall> {
 public:
  ServiceCall(std::shared_ptr<WayBack> way, CallEvents& events) : way_(std::move(way)), events_(&events) {}
  static Result<std::shared_ptr<ServiceCall>> Start(const ServiceClient& client, std::shared_ptr<WayBack> way,
                                                    const RequestView& request, CallEvents& events);

  // All on io's thread; without effect once the operation has ended.
  void Credit(uint64_t bytes);
  void Input(std::string_view data, bool eof);
  void Abandon();

 private:
  enum class Kind { kOutput, kEvent, kInputCredit, kDone };
  struct Item {
    Kind kind;
    uint32_t id = 0;  // stream or event; of kDone: retryable
    uint64_t bytes = 0;
    csb_status code = CSB_OK;
    std::string text, message, hint;
  };

  void OnOutput(Call&, uint32_t stream, std::string_view data) override;
  void OnEvent(Call&, uint32_t event, std::string_view json) override;
  void OnInputCredit(Call&, uint64_t bytes) override;
  void OnDone(Call&, const OutcomeView& outcome) override;
  void Push(Item item);
  void Deliver();

  const std::shared_ptr<WayBack> way_;
  CallEvents* events_;          // null once abandoned
  std::shared_ptr<Call> call_;  // null once ended; io's thread only
  std::mutex mutex_;
  std::vector<Item> queue_;
  bool posted_ = false;
};

}  // namespace csb::http
