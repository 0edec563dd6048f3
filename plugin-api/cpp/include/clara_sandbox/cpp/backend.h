// SPDX-License-Identifier: Apache-2.0
//
// backend.h: a backend in C++. Derive Backend for asynchronous code, BlockingBackend
// (blocking_backend.h) for code that may block.
//
//   class MyBackend : public csb::Backend {
//    public:
//     // Reads its options, starts what it needs; no sandbox, no network, within a second.
//     static csb::Result<std::unique_ptr<MyBackend>> Create(csb::HostRef host);
//
//     csb::Result<std::shared_ptr<csb::Operation>> Submit(const csb::RequestView& request,
//                                                         csb::EventSink sink) override {
//       if (request.op != CSB_OP_SHELL) return csb::Unsupported(request.op);
//       auto op = std::make_shared<MyShell>(csb::Request::Copy(request), std::move(sink));
//       loop_.Post([op] { op->Run(); });
//       return std::shared_ptr<csb::Operation>(op);
//     }
//   };
//   CSB_PLUGIN_BACKEND(MyBackend, kPlugin)   // in plugin.cc, see plugin.h
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "clara_sandbox/backend.h"
#include "clara_sandbox/cpp/event_sink.h"
#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/operations.h"
#include "clara_sandbox/cpp/plugin.h"
#include "clara_sandbox/cpp/request.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

class Backend {
 public:
  // [control] After every operation has ended and been closed.
  virtual ~Backend() = default;
  // [any] Starts an operation; does not block. On error nothing was or will be sent to `sink`.
  // May return a null pointer when the operation takes no input and needs no cancel.
  // `request` is borrowed; `sink` may be used at once, from any thread.
  virtual Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) = 0;
};

inline Error Unsupported(uint32_t op) {
  const std::string_view name = NameOfOperation(op);
  return {
      CSB_E_UNSUPPORTED,
      "this backend does not offer the operation " + (name.empty() ? std::to_string(op) : std::string(name)),
      "", false};
}

namespace detail {

// The tables of one Backend class.
template <typename T>
class BackendTable {
 public:
  static Backend& Get(csb_backend* self) { return *reinterpret_cast<Instance*>(self)->backend; }
  static const void* GetInterface(const char* id) noexcept {
    static constexpr csb_op_calls kCalls{sizeof(csb_op_calls), 0, &Input, &Credit, &Cancel, &Close};
    static constexpr csb_backend_v1 kTable{sizeof(csb_backend_v1), 0, &Create, &Destroy, &Submit, &kCalls};
    return id != nullptr && std::string_view(id) == CSB_BACKEND_V1 ? &kTable : nullptr;
  }

 private:
  struct Instance {
    const csb_host* host;
    std::unique_ptr<Backend> backend;
  };

  static csb_status Create(const csb_host* host, csb_backend** out, csb_error* error) noexcept {
    return Guard("create", error, [&]() -> Status {
      auto made = T::Create(HostRef(host));
      if (!made) return std::move(made).error();
      *out = reinterpret_cast<csb_backend*>(new Instance{host, *std::move(made)});
      return {};
    });
  }
  static void Destroy(csb_backend* self) noexcept { delete reinterpret_cast<Instance*>(self); }

  static csb_status Submit(csb_backend* self, const csb_request* request, const csb_events* events, void* ctx,
                           csb_op** out, csb_error* error) noexcept {
    return Guard("submit", error, [&]() -> Status {
      const auto& instance = *reinterpret_cast<Instance*>(self);
      const auto state = std::make_shared<OpState>(instance.host, events, ctx, request->output_credit);
      struct Rollback {  // also when Submit throws
        OpState* state;
        csb_op** out;
        csb_op* before;
        ~Rollback() {
          if (state == nullptr) return;
          state->Reject();
          *out = before;
        }
      } rollback{state.get(), out, *out};
      state->Open();
      *out = state->handle();  // before the first callback, which may come from another thread
      const InsideCall mark(state.get());
      auto op = instance.backend->Submit(RequestView::From(*request), EventSink(state));
      if (!op) return std::move(op).error();
      rollback.state = nullptr;
      state->Start(*std::move(op));
      return {};
    });
  }

  static csb_status Input(csb_op* op, csb_str data, uint32_t eof) noexcept {
    csb_status code = CSB_OK;
    const csb_status guard = Guard("input", nullptr, [&]() -> Status {
      code = OpState::Of(op)->Input(View(data), eof != 0);
      return {};
    });
    return guard != CSB_OK ? guard : code;
  }
  static void Credit(csb_op* op, uint64_t bytes) noexcept {
    Call("credit", op, [&] { OpState::Of(op)->Credit(bytes); });
  }
  static void Cancel(csb_op* op, csb_status cause) noexcept {
    Call("cancel", op, [&] { OpState::Of(op)->Cancel(cause); });
  }
  static void Close(csb_op* op) noexcept { OpState::Of(op)->Close(); }

  // For calls that cannot report an error to the caller.
  template <typename F>
  static void Call(const char* where, csb_op* op, F&& f) noexcept {
    const csb_host* host = OpState::Of(op)->host();
    csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
    const csb_status code = Guard(where, &error, [&]() -> Status {
      f();
      return {};
    });
    if (code != CSB_OK) host->log(host, CSB_LOG_ERROR, Str(error.message));
  }
};

}  // namespace detail
}  // namespace csb

// Makes `Type` the backend of this library; used once, in plugin.cc.
#define CSB_PLUGIN_BACKEND(Type, descriptor) \
  CSB_PLUGIN_ENTRY_FUNCTION(CSB_KIND_BACKEND, descriptor, &::csb::detail::BackendTable<Type>::GetInterface)
