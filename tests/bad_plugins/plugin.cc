// SPDX-License-Identifier: Apache-2.0
//
// One backend with one fault, chosen by CSB_BAD (see CMakeLists.txt for the list). Without its
// fault it answers every operation from a thread of its own: output "hi", then done. It is
// written against the C headers, since the C++ wrapper would prevent most of the faults.
#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "clara_sandbox/backend.h"

struct csb_backend {
  const csb_host* host;
};

struct csb_op {
  const csb_events* events;
  void* ctx;
  csb_backend* backend;
  std::thread thread{};
  std::atomic<bool> cancelled{false};
};

namespace {

constexpr std::string_view kBad = CSB_BAD;
constexpr bool Is(std::string_view fault) { return kBad == fault; }

csb_str Text(const char* s) { return {s, std::strlen(s)}; }
void ThrowIf(const char* fault) {
  if (Is(fault)) throw std::runtime_error(fault);
}

// What ignores or hangs goes on when the test says so, through this option's value.
bool MayEnd(const csb_backend* backend) {
  return backend->host->config(backend->host, CSB_BAD ".may_end").size != 0;
}

void HangIf(const char* fault, const csb_backend* backend) {
  while (Is(fault) && !MayEnd(backend)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Done(const csb_events* events, void* ctx, csb_status code = CSB_OK, const char* result = "{\"n\":1}",
          const char* message = "") {
  csb_outcome outcome{sizeof(csb_outcome), code, 0, 0, Text(result), Text(message), {}};
  if (Is("short-outcome")) outcome.struct_size = 8;
  if (Is("bad-result")) outcome.result = Text("[1]");
  if (Is("garbage-result")) outcome.result = Text("{\"a\":,,,}");
  if (Is("result-not-utf8")) outcome.result = Text("{\"a\":\"\xff\xfe\"}");
  const std::string deep = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  if (Is("deep-result")) outcome.result = {deep.data(), deep.size()};
  if (Is("no-reason")) outcome.code = CSB_E_IO;
  if (Is("negative-code")) outcome.code = -5;
  if (Is("null-result")) outcome.result = {nullptr, 7};
  events->on_done(ctx, Is("null-outcome") ? nullptr : &outcome);
}

void Run(csb_backend* backend, csb_op* op) {
  using std::chrono::milliseconds;
  const csb_events* events = op->events;
  void* ctx = op->ctx;
  if (Is("beyond-credit")) {
    static const char block[65536] = {};
    events->on_output(ctx, CSB_STREAM_STDOUT, {block, sizeof block});
  } else if (Is("null-data")) {
    events->on_output(ctx, CSB_STREAM_STDOUT, {nullptr, 3});
  } else if (Is("null-event")) {
    events->on_event(ctx, CSB_EVENT_META, {nullptr, 3});
  } else if (Is("bad-event")) {
    events->on_event(ctx, CSB_EVENT_PROGRESS, Text("{\"message\":\"\xff"));
  } else if (Is("bad-stream")) {
    events->on_output(ctx, 77, Text("hi"));
  } else if (Is("wild-ctx")) {
    for (uintptr_t wild : {uintptr_t{0}, uintptr_t{1}, ~uintptr_t{0}, reinterpret_cast<uintptr_t>(ctx) + 1})
      events->on_output(reinterpret_cast<void*>(wild), CSB_STREAM_STDOUT, Text("wild"));
  } else if (Is("overlaps")) {
    std::thread other([&] {
      for (int i = 0; i < 200; ++i) events->on_output(ctx, CSB_STREAM_STDOUT, Text("b"));
    });
    for (int i = 0; i < 200; ++i) events->on_output(ctx, CSB_STREAM_STDOUT, Text("a"));
    other.join();
  } else if (Is("throws-in-input") || Is("throws-in-credit") || Is("throws-in-cancel") ||
             Is("calls-in-cancel")) {
    events->on_input_credit(ctx, 100);
    while (!op->cancelled) std::this_thread::sleep_for(milliseconds(1));
  } else if (Is("no-handle")) {
    std::this_thread::sleep_for(milliseconds(50));  // submit returns first
  }
  HangIf("ignores-cancel", backend);
  HangIf("hangs-in-cancel", backend);
  events->on_output(ctx, CSB_STREAM_STDOUT, Text("hi"));
  if (Is("never-done")) return;
  if (Is("no-handle")) delete op;  // nobody will close it
  Done(events, ctx);
  // `op` may be closed and freed from here on.
  if (Is("done-twice")) Done(events, ctx);
  if (Is("output-after-done")) events->on_output(ctx, CSB_STREAM_STDOUT, Text("more"));
  if (Is("late")) {
    std::this_thread::sleep_for(milliseconds(50));
    events->on_output(ctx, CSB_STREAM_STDOUT, Text("late"));
    Done(events, ctx);
  }
}

csb_status Create(const csb_host* host, csb_backend** out, csb_error* error) {
  ThrowIf("throws-in-create");
  while (Is("hangs-in-create")) std::this_thread::sleep_for(std::chrono::seconds(1));
  if (Is("create-fails")) {
    error->code = CSB_E_UNAVAILABLE;
    std::strcpy(error->message, "the engine is not there");
    std::strcpy(error->hint, "start it");
    return CSB_E_UNAVAILABLE;
  }
  if (Is("create-fails-silently")) return CSB_E_UNAVAILABLE;
  if (Is("create-makes-nothing")) return CSB_OK;
  *out = new csb_backend{host};
  return CSB_OK;
}

void Destroy(csb_backend* backend) {
  while (Is("hangs-in-destroy")) std::this_thread::sleep_for(std::chrono::seconds(1));
  delete backend;
  ThrowIf("throws-in-destroy");
}

csb_status Submit(csb_backend* backend, const csb_request*, const csb_events* events, void* ctx, csb_op** out,
                  csb_error* error) {
  ThrowIf("throws-in-submit");
  HangIf("hangs-in-submit", backend);
  if (Is("output-in-submit")) events->on_output(ctx, CSB_STREAM_STDOUT, Text("early"));
  if (Is("done-in-submit")) {
    *out = new csb_op{events, ctx, backend};
    Done(events, ctx);
    return CSB_OK;
  }
  if (Is("error-silently")) return CSB_E_UNAVAILABLE;
  if (Is("error-then-done")) {
    std::thread([events, ctx] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      Done(events, ctx);
    }).detach();
    return CSB_E_UNAVAILABLE;
  }
  if (Is("done-then-error")) {
    std::thread([events, ctx] { Done(events, ctx); }).join();
    return CSB_E_UNAVAILABLE;
  }
  if (Is("error-and-handle")) {
    *out = reinterpret_cast<csb_op*>(uintptr_t{0x10});
    error->code = CSB_E_UNAVAILABLE;
    std::strcpy(error->message, "no");
    return CSB_E_UNAVAILABLE;
  }
  auto* op = new csb_op{events, ctx, backend};
  if (!Is("no-handle")) *out = op;
  if (Is("no-handle") || Is("late") || Is("never-done"))  // nobody will join it
    std::thread(Run, backend, op).detach();
  else
    op->thread = std::thread(Run, backend, op);
  return CSB_OK;
}

csb_status Input(csb_op*, csb_str, uint32_t) {
  ThrowIf("throws-in-input");
  return CSB_OK;
}
void Credit(csb_op*, uint64_t) { ThrowIf("throws-in-credit"); }
void Cancel(csb_op* op, csb_status) {
  HangIf("hangs-in-cancel", op->backend);
  op->cancelled = true;
  ThrowIf("throws-in-cancel");
  if (Is("calls-in-cancel")) op->events->on_output(op->ctx, CSB_STREAM_STDOUT, Text("inside"));
}
void Close(csb_op* op) {
  HangIf("hangs-in-close", op->backend);
  if (op->thread.joinable()) {
    if (op->thread.get_id() == std::this_thread::get_id())
      op->thread.detach();
    else
      op->thread.join();
  }
  delete op;
  ThrowIf("throws-in-close");
}

const csb_op_calls kCalls{Is("short-calls") ? 16u : static_cast<uint32_t>(sizeof(csb_op_calls)),
                          0,
                          Is("null-input") ? nullptr : &Input,
                          Is("null-credit") ? nullptr : &Credit,
                          Is("null-cancel") ? nullptr : &Cancel,
                          Is("null-close") ? nullptr : &Close};
const csb_backend_v1 kTable{Is("short-table") ? 16u : static_cast<uint32_t>(sizeof(csb_backend_v1)),
                            0,
                            Is("null-create") ? nullptr : &Create,
                            Is("null-destroy") ? nullptr : &Destroy,
                            Is("null-submit") ? nullptr : &Submit,
                            Is("null-calls") ? nullptr : &kCalls};

const void* GetInterface(const char* id) {
  ThrowIf("throws-in-get-interface");
  return !Is("no-interface") && std::string_view(id) == CSB_BACKEND_V1 ? &kTable : nullptr;
}

constexpr csb_option Option(const char* key, uint32_t type = CSB_OPTION_STRING,
                            const char* help = "Test only.") {
  return {static_cast<uint32_t>(Is("short-option") ? 8 : sizeof(csb_option)),
          type,
          key,
          nullptr,
          nullptr,
          help,
          nullptr,
          0,
          0};
}
const csb_option kOptions[] = {Is("foreign-option")        ? Option("http.port")
                               : Is("same-name")           ? Option("good.may_end")
                               : Is("unknown-option-type") ? Option(CSB_BAD ".may_end", 99)
                               : Is("option-without-help")
                                   ? Option(CSB_BAD ".may_end", CSB_OPTION_STRING, nullptr)
                               : Is("option-without-key") ? Option(nullptr)
                                                          : Option(CSB_BAD ".may_end")};

const csb_plugin kPlugin{static_cast<uint32_t>(Is("short-descriptor")        ? 32
                                               : Is("very-short-descriptor") ? 4
                                                                             : sizeof(csb_plugin)),
                         Is("wrong-magic") ? 0xDEADBEEFu : CSB_PLUGIN_MAGIC,
                         Is("wrong-major") ? CSB_ABI_MAJOR + 1 : CSB_ABI_MAJOR,
                         CSB_ABI_MINOR,
                         Is("wrong-kind") ? 9u : CSB_KIND_BACKEND,
                         Is("too-many-options") ? 1u << 30 : 1u,
                         Is("null-name")   ? nullptr
                         : Is("bad-name")  ? "Bad Name"
                         : Is("long-name") ? "a23456789012345678901234567890123"
                         : Is("same-name") ? "good"
                                           : CSB_BAD,
                         Is("null-version") ? nullptr : "1.0.0",
                         Is("null-description") ? nullptr : "A backend with a fault",
                         Is("null-options") ? nullptr : kOptions,
                         Is("null-get-interface") ? nullptr : &GetInterface};

}  // namespace

#ifdef CSB_BAD_UNRESOLVED
extern "C" void csb_test_function_that_nobody_defines(void);
#endif

#ifdef CSB_BAD_NO_ENTRY
extern "C" CSB_EXPORT const csb_plugin* some_other_entry(void) { return &kPlugin; }
#else
extern "C" CSB_EXPORT const csb_plugin* csb_plugin_entry(void) {
  ThrowIf("throws-in-entry");
#ifdef CSB_BAD_UNRESOLVED
  csb_test_function_that_nobody_defines();
#endif
  return Is("null-descriptor") ? nullptr : &kPlugin;
}
#endif
