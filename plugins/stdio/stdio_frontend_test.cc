// SPDX-License-Identifier: Apache-2.0
#include "plugins/stdio/stdio_frontend.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <future>
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "plugins/stdio/line_splitter.h"

namespace csb::stdio {
namespace {

using csb::testing::FakeHost;
using csb::testing::FakeService;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

std::vector<std::string> Split(const std::vector<std::string>& pieces, size_t max, int* too_long = nullptr) {
  LineSplitter splitter(max);
  std::vector<std::string> lines;
  const auto on_line = [&](std::string_view line) { lines.emplace_back(line); };
  for (const auto& piece : pieces)
    splitter.Feed(piece, on_line, [&] {
      if (too_long != nullptr) ++*too_long;
    });
  splitter.Finish(on_line);
  return lines;
}

TEST(LineSplitter, LinesAreWholeWhateverThePieces) {
  EXPECT_THAT(Split({"a\nbc", "d\n", "\n \r\n", "e\r\nf"}, 100), ElementsAre("a", "bcd", "e", "f"));
}

TEST(LineSplitter, LongLineIsReportedOnceAndSkipped) {
  int too_long = 0;
  EXPECT_THAT(Split({"ok\n0123", "456789", "0123456789\nnext\n"}, 8, &too_long), ElementsAre("ok", "next"));
  EXPECT_EQ(too_long, 1);
  EXPECT_THAT(Split({"12345678\n123456789\n1\n"}, 8, &too_long), ElementsAre("12345678", "1"));
  EXPECT_EQ(too_long, 2);
}

class Held : public Operation {
 public:
  explicit Held(EventSink sink) : sink_(std::move(sink)) {}
  void Cancel(csb_status cause) override {
    sink_.Fail({cause, "cancelled", "", false});
    cancelled_ = true;
  }
  std::atomic<bool> cancelled_ = false;
  EventSink sink_;
};

class StdioTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    int in[2], out[2];
    if (GetParam()) {
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0);
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
    } else {
      ASSERT_EQ(::pipe2(in, O_CLOEXEC), 0);
      ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    }
    server_in_ = UniqueFd(in[0]);
    to_server_ = UniqueFd(in[1]);
    from_server_ = UniqueFd(out[0]);
    server_out_ = UniqueFd(out[1]);
    auto made = StdioFrontend::CreateOn(host_.ref(), service_.client(), server_in_.get(), server_out_.get());
    ASSERT_TRUE(made);
    frontend_ = *std::move(made);
    ASSERT_TRUE(frontend_->Start([this](int code) { exit_.set_value(code); }));
  }
  void Say(std::string line) {
    line += '\n';
    ASSERT_EQ(::write(to_server_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
  // The next line; empty when none comes.
  std::string Hear(std::chrono::milliseconds wait = 20s) {
    for (;;) {
      if (const size_t end = heard_.find('\n'); end != std::string::npos) {
        std::string line = heard_.substr(0, end);
        heard_.erase(0, end + 1);
        return line;
      }
      pollfd p{from_server_.get(), POLLIN, 0};
      if (::poll(&p, 1, static_cast<int>(wait.count())) <= 0) return {};
      char buffer[64 << 10];
      const ssize_t n = ::read(from_server_.get(), buffer, sizeof buffer);
      if (n <= 0) return {};
      heard_.append(buffer, static_cast<size_t>(n));
    }
  }
  // Call 1 is under way once the ping behind it is answered.
  void HoldACall() {
    Hold();
    Say(Shell(1));
    Say(R"({"jsonrpc":"2.0","id":2,"method":"ping"})");
    EXPECT_THAT(Hear(), HasSubstr(R"("id":2)"));
  }
  void Hold() {
    service_.On(CSB_OP_SHELL,
                [this](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
                  held_.set_value(std::make_shared<Held>(std::move(sink)));
                  auto op = held_future_.get();
                  op_ = op;
                  return std::shared_ptr<Operation>(op);
                });
  }
  static std::string Shell(int id) {
    return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) +
           R"(,"method":"tools/call","params":{"name":"run_shell","arguments":{"command":"x"}}})";
  }

  FakeHost host_;
  FakeService service_{host_};
  UniqueFd server_in_, to_server_, from_server_, server_out_;
  std::promise<int> exit_;
  std::promise<std::shared_ptr<Held>> held_;
  std::future<std::shared_ptr<Held>> held_future_ = held_.get_future();
  std::shared_ptr<Held> op_;
  std::string heard_;
  std::unique_ptr<StdioFrontend> frontend_;
};
INSTANTIATE_TEST_SUITE_P(, StdioTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Socket" : "Pipe"; });

TEST_P(StdioTest, AnswersLineByLine) {
  Say(R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  EXPECT_EQ(Hear(), R"({"jsonrpc":"2.0","id":1,"result":{}})");
  service_.OnDone(CSB_OP_SHELL, R"({"exit_code":0,"cause":"exit"})", "hi\n");
  Say(Shell(2));
  EXPECT_THAT(Hear(), HasSubstr(R"("text":"hi\n")"));
  EXPECT_EQ(service_.requests()[0].user, "default");
}

TEST_P(StdioTest, EndOfInputWithNothingUnderWayEndsWithZero) {
  Say(R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  to_server_.reset();
  EXPECT_EQ(exit_.get_future().get(), 0);
  EXPECT_THAT(Hear(), HasSubstr(R"("id":1)"));
}

// As `printf '…' | clara-sandbox stdio` does.
TEST_P(StdioTest, EndOfInputLetsCallsAnswerAndEndsWithZero) {
  HoldACall();
  to_server_.reset();
  auto exit = exit_.get_future();
  EXPECT_EQ(exit.wait_for(100ms), std::future_status::timeout);
  EXPECT_FALSE(op_->cancelled_);
  op_->sink_.Done(R"({"exit_code":0,"cause":"exit"})");
  EXPECT_EQ(exit.get(), 0);
  EXPECT_THAT(Hear(), HasSubstr(R"("id":1)"));
}

TEST_P(StdioTest, LastLineThatIsACallIsAnswered) {
  service_.OnDone(CSB_OP_SHELL, R"({"exit_code":0,"cause":"exit"})", "hi\n");
  const std::string call = Shell(1);
  ASSERT_EQ(::write(to_server_.get(), call.data(), call.size()), static_cast<ssize_t>(call.size()));
  to_server_.reset();
  EXPECT_EQ(exit_.get_future().get(), 0);
  EXPECT_THAT(Hear(), HasSubstr(R"("text":"hi\n")"));
}

TEST_P(StdioTest, ReaderThatGoesAwayCancelsWhatRunsAtOnce) {
  HoldACall();
  from_server_.reset();
  EXPECT_EQ(exit_.get_future().get(), 0);
  EXPECT_TRUE(op_->cancelled_);
}

// As when the client is killed.
TEST_P(StdioTest, ReaderThatGoesAwayAfterTheEndOfInputCancelsToo) {
  HoldACall();
  to_server_.reset();
  auto exit = exit_.get_future();
  EXPECT_EQ(exit.wait_for(50ms), std::future_status::timeout);
  from_server_.reset();
  EXPECT_EQ(exit.get(), 0);
  EXPECT_TRUE(op_->cancelled_);
}

TEST_P(StdioTest, AnswersWaitForASlowReaderAfterTheEndOfInput) {
  constexpr int kRequests = 100;  // about 6 KiB each, more than a pipe or socket holds
  for (int i = 0; i < kRequests; ++i)
    Say(R"({"jsonrpc":"2.0","id":)" + std::to_string(i) + R"(,"method":"tools/list"})");
  to_server_.reset();
  auto exit = exit_.get_future();
  EXPECT_EQ(exit.wait_for(100ms), std::future_status::timeout);
  for (int i = 0; i < kRequests; ++i) ASSERT_THAT(Hear(), HasSubstr(R"("id":)" + std::to_string(i) + ","));
  EXPECT_EQ(exit.get(), 0);
}

TEST_P(StdioTest, LastLineWithoutANewlineIsServed) {
  const std::string ping = R"({"jsonrpc":"2.0","id":1,"method":"ping"})";
  ASSERT_EQ(::write(to_server_.get(), ping.data(), ping.size()), static_cast<ssize_t>(ping.size()));
  to_server_.reset();
  EXPECT_THAT(Hear(), HasSubstr(R"("id":1)"));
}

TEST_P(StdioTest, OverlongLineIsAnErrorAndTheNextIsServed) {
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 17; ++i) {
    size_t sent = 0;
    while (sent < piece.size())
      sent += static_cast<size_t>(::write(to_server_.get(), piece.data() + sent, piece.size() - sent));
  }
  Say("");
  EXPECT_THAT(Hear(), HasSubstr("more than 16 MiB"));
  Say(R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  EXPECT_THAT(Hear(), HasSubstr(R"("id":1)"));
}

// A client that writes and writes before it reads: everything is answered, nothing is lost.
TEST_P(StdioTest, ClientThatDoesNotReadForAWhileLosesNothing) {
  constexpr int kRequests = 3000;  // tools/list: about 6 KiB each, far more than a pipe holds
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i)
      Say(R"({"jsonrpc":"2.0","id":)" + std::to_string(i) + R"(,"method":"tools/list"})");
  });
  std::this_thread::sleep_for(100ms);
  for (int i = 0; i < kRequests; ++i) {
    const std::string line = Hear();
    auto doc = json::Parse(line);
    ASSERT_TRUE(doc) << i;
    ASSERT_EQ(json::GetInt(*doc, "id"), i);
  }
  writer.join();
}

TEST_P(StdioTest, EndOfInputIsNoticedWhileTheClientDoesNotRead) {
  ::fcntl(to_server_.get(), F_SETFL, O_NONBLOCK);
  const std::string list = R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})" + std::string("\n");
  std::string all;
  for (int i = 0; i < 2000; ++i) all += list;
  for (size_t sent = 0, idle = 0; sent < all.size() && idle < 50;) {
    const ssize_t n = ::write(to_server_.get(), all.data() + sent, all.size() - sent);
    if (n > 0) {
      sent += static_cast<size_t>(n);
      idle = 0;
    } else {
      ++idle;
      std::this_thread::sleep_for(2ms);
    }
  }
  to_server_.reset();
  from_server_.reset();
  EXPECT_EQ(exit_.get_future().wait_for(20s), std::future_status::ready);
}

TEST_P(StdioTest, ClosedOutputEndsTheServerAndNotTheProcess) {
  from_server_.reset();
  Say(R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  EXPECT_EQ(exit_.get_future().get(), 0);
}

TEST_P(StdioTest, StopTakesNothingNewAndLetsCallsAnswer) {
  HoldACall();
  frontend_->Stop();
  op_->sink_.Done(R"({"exit_code":0,"cause":"exit"})");
  EXPECT_THAT(Hear(), HasSubstr(R"("id":1)"));
  frontend_.reset();
}

TEST(StdioFrontend, BadUserIsRefusedByName) {
  FakeHost host(FakeHost::Options{{"stdio.user", "a\nb"}});
  FakeService service(host);
  auto made = StdioFrontend::Create(host.ref(), service.client());
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("stdio.user"));
}

}  // namespace
}  // namespace csb::stdio
