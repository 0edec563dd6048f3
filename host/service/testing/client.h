// SPDX-License-Identifier: Apache-2.0
//
// client.h: a frontend for tests: submits, keeps what comes, checks the rules of the events.
//
//   auto reply = Ask(service, CSB_OP_SHELL, "alice", R"({"command":"true"})");
//   reply->Wait();                       // fails the test after 20 s
//   EXPECT_EQ(reply->code, CSB_OK);
//   EXPECT_EQ(reply->output, "hi\n");
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "host/service/call.h"
#include "host/service/service.h"

namespace csb::host {

struct Reply {
  // Valid after Wait.
  csb_status code = -1;
  bool retryable = false;
  std::string result, message, hint, output;

  Reply& Wait() {
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, std::chrono::seconds(20), [&] { return done > 0; }))
      ADD_FAILURE() << "no done";
    return *this;
  }
  bool Done() {
    std::lock_guard lock(mutex);
    return done > 0;
  }
  void Cancel(csb_status cause = CSB_E_CANCELLED) {
    if (op != nullptr) calls->cancel(op, cause);
  }
  void Credit(uint64_t bytes) { calls->credit(op, bytes); }
  std::string input;  // is sent once there is credit

  ~Reply() {
    if (op != nullptr) {
      Wait();
      calls->close(op);
    }
  }

  std::mutex mutex;
  std::condition_variable changed;
  int done = 0;
  std::atomic<int> inside{0};
  csb_op* op = nullptr;
  const csb_op_calls* calls = nullptr;

  static Reply& Of(void* ctx) { return *static_cast<Reply*>(ctx); }
  struct Inside {
    explicit Inside(Reply& r) : reply(r) { EXPECT_EQ(reply.inside.fetch_add(1), 0) << "callbacks overlap"; }
    ~Inside() { reply.inside.fetch_sub(1); }
    Reply& reply;
  };
};

inline const csb_events kReplyEvents = {
    sizeof(csb_events),
    0,
    [](void* ctx, uint32_t, csb_str data) {
      Reply& r = Reply::Of(ctx);
      Reply::Inside inside(r);
      std::lock_guard lock(r.mutex);
      EXPECT_EQ(r.done, 0) << "output after done";
      r.output.append(View(data));
      r.changed.notify_all();
    },
    [](void* ctx, uint32_t, csb_str) { Reply::Inside inside(Reply::Of(ctx)); },
    [](void* ctx, uint64_t) {
      Reply& r = Reply::Of(ctx);
      Reply::Inside inside(r);
      r.calls->input(r.op, Str(r.input), 1);
    },
    [](void* ctx, const csb_outcome* o) {
      Reply& r = Reply::Of(ctx);
      EXPECT_EQ(r.inside.load(), 0) << "callbacks overlap";
      std::lock_guard lock(r.mutex);  // the last touch: whoever waits may free it then
      EXPECT_EQ(r.done, 0) << "done twice";
      ++r.done;
      r.code = o->code;
      r.retryable = o->retryable != 0;
      r.result = View(o->result);
      r.message = View(o->message);
      r.hint = View(o->hint);
      r.changed.notify_all();
    }};

struct AskOptions {
  uint64_t credit = 1 << 20;
  std::chrono::milliseconds deadline{0};
  bool has_input = false;
  std::string input;
};

// An error of submit is a reply too.
inline std::shared_ptr<Reply> Ask(const Service& service, uint32_t op, std::string user,
                                  std::string payload = "{}", AskOptions options = {}) {
  auto reply = std::make_shared<Reply>();
  reply->calls = service.table()->calls;
  reply->input = options.input;
  csb_request request{};
  request.struct_size = sizeof request;
  request.op = op;
  request.flags = options.has_input ? CSB_REQUEST_INPUT : 0;
  request.user = Str(user);
  request.request_id = Str("test");
  request.payload = Str(payload);
  request.output_credit = options.credit;
  if (options.deadline.count() != 0)
    request.deadline_ns = NowNs() + static_cast<uint64_t>(options.deadline.count()) * 1'000'000;
  csb_error error{};
  error.struct_size = sizeof error;
  const csb_status code = service.table()->submit(service.table()->self, &request, &kReplyEvents, reply.get(),
                                                  &reply->op, &error);
  if (code != CSB_OK) {
    EXPECT_EQ(reply->op, nullptr);
    std::lock_guard lock(reply->mutex);
    EXPECT_EQ(reply->done, 0) << "done after a refused submit";
    reply->done = 1;
    reply->code = code;
    reply->retryable = error.retryable != 0;
    reply->message = error.message;
    reply->hint = error.hint;
  }
  return reply;
}

inline std::shared_ptr<Reply> Shell(const Service& service, const std::string& user,
                                    AskOptions options = {}) {
  return Ask(service, CSB_OP_SHELL, user, R"({"command":"true"})", std::move(options));
}

}  // namespace csb::host
