// SPDX-License-Identifier: Apache-2.0
//
// frontend.h: a frontend in C++.
//
//   class MyFrontend : public csb::Frontend {
//    public:
//     // Reads its options; opens nothing yet.
//     static csb::Result<std::unique_ptr<MyFrontend>> Create(csb::HostRef host, csb::ServiceClient service);
//     csb::Status Start(Finished finished) override;   // binds, starts threads
//     void Stop() override;                            // accepts nothing new
//     ~MyFrontend() override;                          // sends what is left, joins
//   };
//   CSB_PLUGIN_FRONTEND(MyFrontend, kPlugin)   // in plugin.cc, see plugin.h
//
// Requests go through service_client.h.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/plugin.h"
#include "clara_sandbox/cpp/service_client.h"
#include "clara_sandbox/frontend.h"

namespace csb {

class Frontend {
 public:
  // Asks the host to shut down with this exit code; any thread; only the first call counts.
  using Finished = std::function<void(int exit_code)>;

  // [control] After every operation it submitted has ended: sends what is left to send (for at
  // most a second), closes, joins its threads.
  virtual ~Frontend() = default;
  // [control] Binds and serves on threads of its own; returns once it accepts requests. An error
  // leaves nothing open.
  virtual Status Start(Finished finished) = 0;
  // [control] Accepts nothing new, returns at once; operations under way go on. Idempotent.
  virtual void Stop() = 0;
  // [control] SIGHUP: reads again the files that may change in place.
  virtual void Reload() {}
};

namespace detail {

template <typename T>
class FrontendTable {
 public:
  static const void* GetInterface(const char* id) noexcept {
    static constexpr csb_frontend_v1 kTable{
        sizeof(csb_frontend_v1), 0, &Create, &Start, &Stop, &Destroy, &Reload};
    return id != nullptr && std::string_view(id) == CSB_FRONTEND_V1 ? &kTable : nullptr;
  }

 private:
  struct Instance {
    const csb_host* host;
    std::unique_ptr<Frontend> frontend;
  };
  static Instance* Of(csb_frontend* self) { return reinterpret_cast<Instance*>(self); }

  static csb_status Create(const csb_host* host, const csb_service_v1* service, csb_frontend** out,
                           csb_error* error) noexcept {
    return Guard("create", error, [&]() -> Status {
      auto made = T::Create(HostRef(host), ServiceClient(service));
      if (!made) return std::move(made).error();
      *out = reinterpret_cast<csb_frontend*>(new Instance{host, *std::move(made)});
      return {};
    });
  }
  static csb_status Start(csb_frontend* self, const csb_frontend_events* events, void* ctx,
                          csb_error* error) noexcept {
    return Guard("start", error, [&]() -> Status {
      const auto once = std::make_shared<std::atomic<bool>>(false);
      return Of(self)->frontend->Start([events, ctx, once](int exit_code) {
        if (!once->exchange(true)) events->on_finished(ctx, exit_code);
      });
    });
  }
  static void Stop(csb_frontend* self) noexcept {
    Call("stop", self, [](Frontend& f) { f.Stop(); });
  }
  static void Destroy(csb_frontend* self) noexcept { delete Of(self); }
  static void Reload(csb_frontend* self) noexcept {
    Call("reload", self, [](Frontend& f) { f.Reload(); });
  }

  template <typename F>
  static void Call(const char* where, csb_frontend* self, F&& f) noexcept {
    csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
    const csb_status code = Guard(where, &error, [&]() -> Status {
      f(*Of(self)->frontend);
      return {};
    });
    if (code != CSB_OK) Of(self)->host->log(Of(self)->host, CSB_LOG_ERROR, Str(error.message));
  }
};

}  // namespace detail
}  // namespace csb

// Makes `Type` the frontend of this library; used once, in plugin.cc.
#define CSB_PLUGIN_FRONTEND(Type, descriptor) \
  CSB_PLUGIN_ENTRY_FUNCTION(CSB_KIND_FRONTEND, descriptor, &::csb::detail::FrontendTable<Type>::GetInterface)
