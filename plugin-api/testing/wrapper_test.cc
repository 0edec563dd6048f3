// SPDX-License-Identifier: Apache-2.0
//
// The C++ wrapper through its C tables: what a host sees of a backend or frontend, however
// its author behaves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>

#include "clara_sandbox/cpp/blocking_backend.h"
#include "clara_sandbox/cpp/frontend.h"
#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"

namespace csb::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A FakeService is a Backend behind a table: enough to test the wrapper with scripts.
class WrapperTest : public ::testing::Test {
 protected:
  Request Shell(uint64_t credit = kDefaultCredit) {
    return {.op = CSB_OP_SHELL, .user = "alice", .payload = "{}", .output_credit = credit};
  }
  FakeHost host_;
  FakeService service_{host_};
};

TEST_F(WrapperTest, AnswersInsideSubmitArriveAfterIt) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) {
    sink.InputCredit(5);
    sink.Output(CSB_STREAM_STDOUT, "out");
    sink.Event(CSB_EVENT_PROGRESS, "{}");
    sink.Done(R"({"exit_code":0})");
    sink.Done(R"({"exit_code":1})");  // has no effect
    sink.Output(CSB_STREAM_STDOUT, "late");
    return FakeService::NoOperation();
  });
  Recorder op(service_.table(), Shell());
  ASSERT_TRUE(op.Wait());
  EXPECT_EQ(op.code(), CSB_OK);
  EXPECT_EQ(op.result(), R"({"exit_code":0})");
  EXPECT_EQ(op.output(CSB_STREAM_STDOUT), "out");
  EXPECT_THAT(op.events(), ElementsAre(Pair(CSB_EVENT_PROGRESS, "{}")));
  EXPECT_EQ(op.input_credit(), 5u);
  EXPECT_THAT(op.violations(), IsEmpty());
}

TEST_F(WrapperTest, ErrorsAndExceptionsOfSubmitLeaveNothingBehind) {
  EventSink kept;
  service_.On(CSB_OP_SHELL, [&](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
    sink.Output(CSB_STREAM_STDOUT, "out");
    kept = sink;
    return Error{CSB_E_CONFLICT, "no", "try yes", true};
  });
  {
    Recorder op(service_.table(), Shell());
    EXPECT_FALSE(op.submitted());
    EXPECT_EQ(op.code(), CSB_E_CONFLICT);
    EXPECT_EQ(op.message(), "no");
    EXPECT_EQ(op.hint(), "try yes");
    EXPECT_TRUE(op.retryable());
    kept.Done();
    EXPECT_EQ(op.output(CSB_STREAM_STDOUT), "");
    EXPECT_THAT(op.violations(), IsEmpty());
  }
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink) -> Result<std::shared_ptr<Operation>> {
    throw std::runtime_error("boom");
  });
  Recorder op(service_.table(), Shell());
  EXPECT_EQ(op.code(), CSB_E_INTERNAL);
  EXPECT_EQ(op.message(), "submit: boom");
}

TEST_F(WrapperTest, OutputStopsAtCredit) {
  EventSink sink;
  service_.On(CSB_OP_SHELL, [&](const RequestView&, EventSink s) {
    sink = std::move(s);
    return FakeService::NoOperation();
  });
  Recorder op(service_.table(), Shell(4), Recorder::Credit::kManual);
  EXPECT_EQ(sink.Output(CSB_STREAM_STDOUT, "abcdef"), 4u);
  EXPECT_EQ(sink.Output(CSB_STREAM_STDOUT, "ef"), 0u);
  op.Give(100);
  EXPECT_EQ(sink.credit(), 100u);
  EXPECT_EQ(sink.Output(CSB_STREAM_STDOUT, "ef"), 2u);
  op.Give(UINT64_MAX);
  EXPECT_EQ(sink.credit(), UINT64_MAX);
  sink.Done();
  EXPECT_EQ(op.output(CSB_STREAM_STDOUT), "abcdef");
  EXPECT_THAT(op.violations(), IsEmpty());
  sink = EventSink();
}

TEST_F(WrapperTest, ASinkThatIsDroppedEndsTheOperation) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink) { return FakeService::NoOperation(); });
  Recorder op(service_.table(), Shell());
  ASSERT_TRUE(op.Wait());
  EXPECT_EQ(op.code(), CSB_E_INTERNAL);
  EXPECT_THAT(op.message(), HasSubstr("without ending it"));
  EXPECT_THAT(op.violations(), IsEmpty());
}

// Ends with partial output on cancel, from inside Cancel; counts what is alive.
class Waiting : public Operation {
 public:
  explicit Waiting(EventSink sink) : sink_(std::move(sink)) { ++alive; }
  ~Waiting() override { --alive; }
  void Cancel(csb_status cause) override { sink_.Fail({cause, "told to end", "", false}); }
  Status Input(std::string_view data, bool eof) override {
    if (eof)
      sink_.Done();
    else
      sink_.Output(CSB_STREAM_STDOUT, data);
    return {};
  }
  static inline std::atomic<int> alive{0};

 private:
  EventSink sink_;
};

// The callback that told the end may still hold the operation for a moment, on its own thread.
bool ComeToLive(int count) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (Waiting::alive != count && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return Waiting::alive == count;
}

TEST_F(WrapperTest, CancelMayAnswerAtOnceAndCloseReleases) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
    return std::shared_ptr<Operation>(std::make_shared<Waiting>(std::move(sink)));
  });
  {
    Recorder op(service_.table(), Shell());
    op.Cancel(CSB_E_DEADLINE);
    op.Cancel();
    ASSERT_TRUE(op.Wait());
    op.Cancel();
    EXPECT_EQ(op.code(), CSB_E_DEADLINE);
    EXPECT_THAT(op.violations(), IsEmpty());
  }
  {
    Recorder op(service_.table(), Shell());
    EXPECT_TRUE(ComeToLive(1));
  }  // cancels
  EXPECT_TRUE(ComeToLive(0));
}

TEST_F(WrapperTest, CallsThatRaceWithSubmitKeepTheirOrder) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
    // Another thread grants input while Submit still runs, and the submitter sends it at once.
    std::thread([sink] { sink.InputCredit(1000); }).join();
    return std::shared_ptr<Operation>(std::make_shared<Waiting>(std::move(sink)));
  });
  auto handler = std::make_shared<FunctionHandler>();
  std::string got;
  std::atomic<bool> done{false};
  handler->on_input_credit = [](Call& call, uint64_t) {
    for (const char* word : {"a", "b", "c"}) call.Input(word, false);
    call.Input("", true);
  };
  handler->on_output = [&](Call&, uint32_t, std::string_view data) { got += data; };
  handler->on_done = [&](Call&, const OutcomeView&) {
    done = true;
    done.notify_all();
  };
  {
    const auto call = service_.client().Submit(Shell(), handler);
    ASSERT_TRUE(call);
    done.wait(false);
  }
  EXPECT_EQ(got, "abc");
}

TEST_F(WrapperTest, ManyThreadsAnswerOneOperation) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) {
    for (int i = 0; i < 4; ++i)
      std::thread([sink] {
        for (int n = 0; n < 500; ++n)
          while (sink.Output(CSB_STREAM_STDOUT, "x") == 0) std::this_thread::yield();
      }).detach();
    return FakeService::NoOperation();
  });
  Recorder op(service_.table(), Shell(16));
  ASSERT_TRUE(op.Wait());  // the last sink ends it
  EXPECT_EQ(op.output(CSB_STREAM_STDOUT), std::string(2000, 'x'));
  EXPECT_THAT(op.violations(), IsEmpty());
}

class Blocking : public BlockingBackend {
 public:
  using BlockingBackend::BlockingBackend;
  static Result<std::unique_ptr<Blocking>> Create(HostRef host) {
    if (host.Bool("mine.broken", false)) return Error{CSB_E_INVALID, "mine.broken is set", "unset it", false};
    if (host.Bool("mine.throws", false)) throw std::bad_alloc();
    return std::make_unique<Blocking>(host);
  }
  Result<std::string> Run(const Request& request, Context& context) override {
    if (request.payload == "throw") throw std::runtime_error("boom");
    if (request.payload == "wait") {
      context.WaitCancelled(std::chrono::hours(100));
      return context.Cause();
    }
    if (request.payload == "flood") {
      const std::string block(1000, 'x');
      for (;;)
        if (auto s = context.Output(CSB_STREAM_STDOUT, block); !s) return s.error();
    }
    char buffer[7];  // echo
    for (;;) {
      const auto n = context.ReadInput(buffer, sizeof buffer);
      if (!n) return n.error();
      if (*n == 0) return std::string("{}");
      if (auto s = context.Output(CSB_STREAM_STDOUT, {buffer, *n}); !s) return s.error();
    }
  }
};

TEST(BlockingBackendTest, EchoesMoreThanItsWindows) {
  FakeHost host;
  BackendHarness<Blocking> backend(host);
  std::string text;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i);
  Recorder op(backend.table(), backend.self(),
              {.op = CSB_OP_SHELL, .flags = CSB_REQUEST_INPUT, .payload = "echo", .output_credit = 100});
  ASSERT_TRUE(op.Send(text));
  ASSERT_TRUE(op.Wait());
  EXPECT_EQ(op.code(), CSB_OK);
  EXPECT_EQ(op.output(CSB_STREAM_STDOUT), text);
  EXPECT_THAT(op.violations(), IsEmpty());
}

TEST(BlockingBackendTest, EndsOnCancelDeadlineAndException) {
  FakeHost host;
  BackendHarness<Blocking> backend(host);
  const auto submit = [&](const char* payload, uint64_t deadline = 0) {
    return std::make_unique<Recorder>(
        backend.table(), backend.self(),
        Request{.op = CSB_OP_SHELL, .payload = payload, .deadline_ns = deadline, .output_credit = 1500},
        Recorder::Credit::kManual);
  };
  const auto no_input = submit("echo");
  ASSERT_TRUE(no_input->Wait());
  EXPECT_EQ(no_input->code(), CSB_OK);

  const auto flood = submit("flood");
  ASSERT_TRUE(flood->WaitOutput(CSB_STREAM_STDOUT, std::string(1500, 'x')));
  EXPECT_FALSE(flood->done());
  flood->Cancel();
  ASSERT_TRUE(flood->Wait());
  EXPECT_EQ(flood->code(), CSB_E_CANCELLED);
  EXPECT_THAT(flood->violations(), IsEmpty());

  const auto late = submit("wait", host.ref().NowNs() + 20'000'000);
  ASSERT_TRUE(late->Wait());
  EXPECT_EQ(late->code(), CSB_E_DEADLINE);

  const auto thrown = submit("throw");
  ASSERT_TRUE(thrown->Wait());
  EXPECT_EQ(thrown->code(), CSB_E_INTERNAL);
  EXPECT_EQ(thrown->message(), "run: boom");

  host.RefuseWork();
  EXPECT_EQ(submit("echo")->code(), CSB_E_UNAVAILABLE);
}

TEST(BlockingBackendTest, CreateReportsWhatIsWrong) {
  FakeHost host(FakeHost::Options{{"mine.broken", "1"}});
  BackendHarness<Blocking> broken(host);
  EXPECT_EQ(broken.code(), CSB_E_INVALID);
  EXPECT_EQ(broken.error().message, "mine.broken is set");
  EXPECT_EQ(broken.error().hint, "unset it");
  FakeHost other(FakeHost::Options{{"mine.throws", "1"}});
  BackendHarness<Blocking> throws(other);
  EXPECT_EQ(throws.code(), CSB_E_NO_CAPACITY);
  EXPECT_EQ(throws.error().message, "create: out of memory");
}

class Front : public Frontend {
 public:
  explicit Front(HostRef host) : host_(host) {}
  static Result<std::unique_ptr<Front>> Create(HostRef host, ServiceClient) {
    return std::make_unique<Front>(host);
  }
  Status Start(Finished finished) override {
    if (host_.Int("front.port", 0) == 1) return Error{CSB_E_FORBIDDEN, "port 1", "", false};
    thread_ = std::thread([finished] {
      finished(3);
      finished(4);
    });
    return {};
  }
  void Stop() override { throw std::runtime_error("stop failed"); }
  void Reload() override { host_.LogInfo("reloaded"); }
  ~Front() override {
    if (thread_.joinable()) thread_.join();
  }

 private:
  HostRef host_;
  std::thread thread_;
};

TEST(FrontendTest, RunsBehindItsTable) {
  FakeHost host;
  FakeService service(host);
  const auto* table =
      static_cast<const csb_frontend_v1*>(detail::FrontendTable<Front>::GetInterface(CSB_FRONTEND_V1));
  EXPECT_EQ(detail::FrontendTable<Front>::GetInterface("csb.frontend/2"), nullptr);
  csb_frontend* front = nullptr;
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  ASSERT_EQ(table->create(host.table(), service.table(), &front, &error), CSB_OK);
  host.Set("front.port", "1");
  static std::atomic<int> finished, calls;
  const csb_frontend_events events{sizeof(csb_frontend_events), 0, [](void*, int32_t code) {
                                     finished = code;
                                     ++calls;
                                   }};
  EXPECT_EQ(table->start(front, &events, nullptr, &error), CSB_E_FORBIDDEN);
  host.Set("front.port", "2");
  ASSERT_EQ(table->start(front, &events, nullptr, &error), CSB_OK);
  table->reload(front);
  EXPECT_TRUE(host.Logged("reloaded"));
  table->stop(front);
  EXPECT_TRUE(host.Logged("stop: stop failed"));
  table->destroy(front);
  EXPECT_EQ(finished, 3);
  EXPECT_EQ(calls, 1);
}

TEST(HostRefTest, ReadsOptionsAndLogsExceptionsOfWork) {
  FakeHost host(FakeHost::Options{
      {"a.int", "42"}, {"a.bad", "4x"}, {"a.float", "1.5"}, {"a.yes", "1"}, {"a.empty", ""}});
  const HostRef ref = host.ref();
  EXPECT_EQ(ref.Int("a.int", 0), 42);
  EXPECT_EQ(ref.Int("a.bad", 7), 7);
  EXPECT_EQ(ref.Int("a.none", 7), 7);
  EXPECT_EQ(ref.Number("a.float", 0), 1.5);
  EXPECT_TRUE(ref.Bool("a.yes", false));
  EXPECT_TRUE(ref.Bool("a.none", true));
  EXPECT_EQ(ref.Config("a.empty"), std::string_view());
  EXPECT_EQ(ref.Config("a.none"), std::nullopt);
  ref.Count("m", 2);
  ref.Count("m");
  EXPECT_EQ(host.counter("m"), 3);
  std::atomic<bool> ran{false};
  ASSERT_TRUE(ref.Post([&]() -> void {
    ran = true;
    ran.notify_all();
    throw std::runtime_error("from work");
  }));
  ran.wait(false);
  while (!host.Logged("from work")) std::this_thread::yield();
}

}  // namespace
}  // namespace csb::testing
