// SPDX-License-Identifier: Apache-2.0
//
// Plugins with one fault each, loaded into a host that has work to do: every fault is refused
// or survived with a message that names the plugin, and the good backend goes on answering.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "clara_sandbox/cpp/request.h"
#include "host/plugin/fake_services.h"
#include "host/plugin/guarded_operation.h"

namespace csb::host {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kDir = CSB_BAD_DIR;
constexpr GuardTimes kSoon{100ms, 200ms};

// Hears one operation as the service would and asserts the rules for what reaches it.
class Listener {
 public:
  explicit Listener(bool give_credit = true) : give_credit_(give_credit) {}

  Status Submit(BackendInstance& backend, Timers& timers, Request request) {
    static constexpr csb_events kEvents{sizeof(csb_events), 0, &OnOutput, &OnEvent, &OnInputCredit, &OnDone};
    return GuardedOperation::Submit(backend, timers, request.view().ToAbi(), kEvents, this, &op, kSoon);
  }
  bool Wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [this] { return done; });
  }
  bool WaitInput() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [this] { return input_credit > 0; });
  }

  GuardedOperation op;
  bool done = false;
  csb_status code = CSB_OK;
  std::string output, result, message, hint;
  uint64_t input_credit = 0;
  int after_done = 0;

 private:
  template <typename F>
  static void Hear(void* ctx, F&& f) {
    auto& self = *static_cast<Listener*>(ctx);
    const std::lock_guard lock(self.mutex_);
    if (self.done) ++self.after_done;
    f(self);
    self.changed_.notify_all();
  }
  static void OnOutput(void* ctx, uint32_t, csb_str data) {
    bool credit = false;
    Hear(ctx, [&](Listener& self) {
      self.output += View(data);
      credit = self.give_credit_;
    });
    if (credit) static_cast<Listener*>(ctx)->op.Credit(data.size);
  }
  static void OnEvent(void* ctx, uint32_t, csb_str) {
    Hear(ctx, [](Listener&) {});
  }
  static void OnInputCredit(void* ctx, uint64_t bytes) {
    Hear(ctx, [&](Listener& self) { self.input_credit += bytes; });
  }
  static void OnDone(void* ctx, const csb_outcome* o) {
    Hear(ctx, [&](Listener& self) {
      self.code = o->code;
      self.result = View(o->result);
      self.message = View(o->message);
      self.hint = View(o->hint);
      self.done = true;
    });
  }

  const bool give_credit_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

Request Ask(std::string payload = "{}") {
  return {.op = CSB_OP_SHELL, .user = "alice", .payload = std::move(payload), .output_credit = 1000};
}

// A host that says when what hangs may go on.
class Gate : public FakeServices {
 public:
  std::optional<std::string_view> Config(std::string_view) override { return may_end ? "1" : ""; }
  std::unique_ptr<BackendInstance> Make(const std::string& bad) {
    auto plugin = LoadPlugin(kDir + "/operations/bad-" + bad + ".so");
    auto instance = plugin ? BackendInstance::Create(*plugin, *this) : plugin.error();
    return instance ? *std::move(instance) : nullptr;
  }
  std::atomic<bool> may_end{false};
};

class BadPluginsTest : public ::testing::Test {
 protected:
  BadPluginsTest() {
    auto plugin = LoadPlugin(kDir + "/good/good.so");
    if (plugin) good_ = *BackendInstance::Create(*plugin, services_);
  }
  void SetUp() override { ASSERT_NE(good_, nullptr); }
  // Whatever happened, the good one answers.
  void TearDown() override {
    Listener listener;
    ASSERT_TRUE(listener.Submit(*good_, timers_, Ask("{\"still\":1}")));
    ASSERT_TRUE(listener.Wait());
    EXPECT_EQ(listener.output, "{\"still\":1}");
    EXPECT_EQ(listener.result, "{\"good\":true}");
  }

  std::unique_ptr<BackendInstance> Make(const std::string& bad) {
    auto plugin = LoadPlugin(kDir + "/operations/bad-" + bad + ".so");
    if (!plugin) {
      ADD_FAILURE() << plugin.error().message;
      return nullptr;
    }
    auto instance = BackendInstance::Create(*plugin, services_);
    if (!instance) {
      ADD_FAILURE() << instance.error().message;
      return nullptr;
    }
    return *std::move(instance);
  }

  // What a backend that is torn down while the host still runs relies on, in this order.
  FakeServices services_;
  Timers timers_;
  std::unique_ptr<BackendInstance> good_;
};

TEST_F(BadPluginsTest, RefusedWhenFound) {
  const std::map<std::string, std::string> expected = {
      {"wrong-magic", "csb_plugin.magic is 0xdeadbeef, this host needs 0x50425343"},
      {"wrong-major", "csb_plugin.abi_major is 2, this host needs 1"},
      {"short-descriptor", "csb_plugin.struct_size is 32, this host needs at least 64"},
      {"very-short-descriptor", "csb_plugin.struct_size is 4, this host needs at least 64"},
      {"null-descriptor", "csb_plugin_entry returned null"},
      {"null-name", "csb_plugin.name is null"},
      {"bad-name", "csb_plugin.name 'Bad Name' is not of the form"},
      {"long-name", "is not of the form"},
      {"null-version", "csb_plugin.version is null"},
      {"null-description", "csb_plugin.description is null"},
      {"null-get-interface", "csb_plugin.get_interface is null"},
      {"wrong-kind", "csb_plugin.kind is 9, this host needs 1 (backend) or 2 (frontend)"},
      {"null-options", "csb_plugin.options is null, but option_count is 1"},
      {"too-many-options", "csb_plugin.option_count is 1073741824, at most 1000"},
      {"foreign-option", "option 0 has the key 'http.port', which must start with 'foreign-option.'"},
      {"unknown-option-type", "has type 99, this host knows 1 to 9"},
      {"option-without-help", "option 0 (option-without-help.may_end) has no help text"},
      {"option-without-key", "option 0 has no key"},
      {"short-option", "csb_option.struct_size is 8, this host needs at least"},
      {"no-entry", "does not export csb_plugin_entry"},
      {"throws-in-entry", "csb_plugin_entry threw an exception: throws-in-entry"},
      {"unresolved", "csb_test_function_that_nobody_defines"},
      {"same-name", "has the name 'good' of " + kDir + "/good/good.so, which was found first"},
  };
  const ScanResult scan = ScanPlugins({kDir + "/good", kDir + "/refused"});
  ASSERT_EQ(scan.plugins.size(), 1u);
  EXPECT_STREQ(scan.plugins[0].descriptor->name, "good");
  std::map<std::string, Error> refused;
  for (const auto& [path, error] : scan.refused)
    refused[std::filesystem::path(path).stem().string().substr(4)] = error;
  EXPECT_EQ(refused.size(), expected.size());
  for (const auto& [bad, text] : expected) {
    EXPECT_THAT(refused[bad].message, AllOf(HasSubstr("/refused/bad-" + bad + ".so"), HasSubstr(text)))
        << bad;
    EXPECT_NE(refused[bad].hint, "") << bad;
  }
}

TEST_F(BadPluginsTest, RefusedWhenMade) {
  const std::map<std::string, std::string> expected = {
      {"no-interface", "does not offer csb.backend/1"},
      {"throws-in-get-interface", "get_interface threw an exception: throws-in-get-interface"},
      {"short-table", "csb_backend_v1.struct_size is 16, this host needs at least 40"},
      {"null-create", "csb_backend_v1.create is null"},
      {"null-destroy", "csb_backend_v1.destroy is null"},
      {"null-submit", "csb_backend_v1.submit is null"},
      {"null-calls", "csb_backend_v1.calls is null"},
      {"short-calls", "csb_op_calls.struct_size is 16, this host needs at least 40"},
      {"null-input", "csb_op_calls.input is null"},
      {"null-credit", "csb_op_calls.credit is null"},
      {"null-cancel", "csb_op_calls.cancel is null"},
      {"null-close", "csb_op_calls.close is null"},
      {"throws-in-create", "create threw an exception: throws-in-create"},
      {"create-fails", "the engine is not there"},
      {"create-fails-silently", "plugin create-fails-silently: create failed with code 10 and no message"},
      {"create-makes-nothing", "plugin create-makes-nothing: create returned success without an instance"},
  };
  const ScanResult scan = ScanPlugins({kDir + "/backends"});
  EXPECT_TRUE(scan.refused.empty());
  EXPECT_EQ(scan.plugins.size(), expected.size());
  for (const LoadedPlugin& plugin : scan.plugins) {
    const std::string name = plugin.descriptor->name;
    const auto instance = BackendInstance::Create(plugin, services_);
    ASSERT_FALSE(instance) << name;
    ASSERT_EQ(expected.count(name), 1u) << name;
    EXPECT_THAT(instance.error().message, HasSubstr(expected.at(name)));
    if (name != "create-fails") {
      EXPECT_THAT(instance.error().message, StartsWith("plugin " + name));
    }
  }
}

TEST_F(BadPluginsTest, NoPluginAtAll) {
  char folder[] = "/tmp/csb_bad_plugins_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string dir = folder;
  std::ofstream(dir + "/empty.so").flush();
  std::ofstream(dir + "/text.so") << "#!/bin/sh\necho this is no library\n";
  std::filesystem::copy_file(kDir + "/good/good.so", dir + "/cut.so");
  std::filesystem::resize_file(dir + "/cut.so", 200);
  for (const uintmax_t size : {500, 4000, 10000}) {  // in the headers and in the segments of any build
    const std::string part = dir + "/part" + std::to_string(size) + ".so";
    std::filesystem::copy_file(kDir + "/good/good.so", part);
    std::filesystem::resize_file(part, size);
  }
  std::filesystem::create_directory(dir + "/folder.so");
  ASSERT_EQ(mkfifo((dir + "/fifo.so").c_str(), 0600), 0);
  std::filesystem::create_symlink("/nowhere/at/all", dir + "/dangling.so");
  std::filesystem::copy_file(kDir + "/good/good.so", dir + "/open.so");
  ASSERT_EQ(chmod((dir + "/open.so").c_str(), 0666), 0);
  std::ofstream(dir + "/README") << "not looked at";
  std::filesystem::copy_file(kDir + "/good/good.so", dir + "/zz_works.so");

  const ScanResult scan = ScanPlugins({dir, dir + "/missing", dir + "/README"});
  std::map<std::string, std::string> refused;
  for (const auto& [path, error] : scan.refused) {
    refused[std::filesystem::path(path).filename()] = error.message;
    EXPECT_THAT(error.message, HasSubstr(path));
  }
  EXPECT_EQ(refused.size(), 11u);
  EXPECT_THAT(refused["empty.so"], HasSubstr("the file is empty"));
  EXPECT_THAT(refused["text.so"], HasSubstr("does not start with an ELF header"));
  for (const char* name : {"cut.so", "part500.so", "part4000.so", "part10000.so"})
    EXPECT_THAT(refused[name], HasSubstr("is cut off"));
  EXPECT_THAT(refused["folder.so"], HasSubstr("not a regular file"));
  EXPECT_THAT(refused["fifo.so"], HasSubstr("not a regular file"));
  EXPECT_THAT(refused["dangling.so"], HasSubstr("No such file"));
  EXPECT_THAT(refused["open.so"], HasSubstr("is writable by every user"));
  EXPECT_THAT(refused["README"], HasSubstr("cannot read the plugin folder"));
  ASSERT_EQ(scan.plugins.size(), 1u);
  EXPECT_EQ(scan.plugins[0].path, dir + "/zz_works.so");

  ASSERT_EQ(chmod(folder, 0777), 0);
  const ScanResult open = ScanPlugins({dir});
  EXPECT_TRUE(open.plugins.empty());
  ASSERT_EQ(open.refused.size(), 1u);
  EXPECT_THAT(open.refused[0].second.message,
              HasSubstr("plugin folder " + dir + " is writable by every user"));
  EXPECT_THAT(open.refused[0].second.hint, HasSubstr("chmod o-w"));
  std::filesystem::remove_all(dir);
}

// Faults of one operation that the guard turns into one CSB_E_INTERNAL that names the plugin,
// with the reason in the log.
TEST_F(BadPluginsTest, AnOperationThatBreaksARuleEndsOnce) {
  const std::map<std::string, std::string> expected = {
      {"beyond-credit", "sent 65536 bytes of output with a credit of 1000 (rule 14)"},
      {"null-data", "sent output with a null pointer (rule 19)"},
      {"null-event", "sent an event with a null pointer (rule 19)"},
      {"bad-stream", "sent output on stream 77, which does not exist (rule 19)"},
      {"output-in-submit", "called on_output from inside a call (rule 16)"},
      {"done-in-submit", "called on_done from inside a call (rule 16)"},
      {"no-handle", "returned success from submit without a handle (rule 11)"},
      {"null-outcome", "ended with a null outcome (rule 19)"},
      {"short-outcome", "ended with an outcome of struct_size 8 (rule 19)"},
      {"bad-result", "ended with a result that is no JSON object (rule 19)"},
      {"garbage-result", "ended with a result that is no JSON object (rule 19)"},
      {"result-not-utf8", "ended with a result that is no JSON object (rule 19)"},
      {"deep-result", "ended with a result that is no JSON object (rule 19)"},
      {"bad-event", "sent event 3, which is no JSON object (rule 19)"},
      {"null-result", "ended with a null pointer in its outcome (rule 19)"},
      {"negative-code", "ended with the code -5 (rule 19)"},
  };
  for (const auto& [bad, text] : expected) {
    SCOPED_TRACE(bad);
    const auto backend = Make(bad);
    ASSERT_NE(backend, nullptr);
    {
      Listener listener;
      ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
      ASSERT_TRUE(listener.Wait());
      EXPECT_EQ(listener.code, CSB_E_INTERNAL);
      EXPECT_THAT(listener.message, AllOf(HasSubstr("plugin " + bad), HasSubstr("operation shell")));
      EXPECT_TRUE(services_.Logged("plugin " + bad + " " + text));
      EXPECT_EQ(listener.after_done, 0);
    }
  }
  EXPECT_EQ(services_.counter("csb_plugin_violations_total"), static_cast<double>(expected.size()));
}

// Faults that hurt nobody: the caller gets its answer, the log has the fault.
TEST_F(BadPluginsTest, AFaultAfterTheEndIsLoggedOnly) {
  const std::map<std::string, std::string> expected = {
      {"done-twice", "(rule 1"},  // 12 or 13, as the handle was closed or not
      {"output-after-done", "called on_output"},
      {"late", "called on_output for an operation that is over (rule 13)"},
      {"wild-ctx", "for an operation that is over (rule 13)"},
      {"throws-in-close", "close threw an exception: throws-in-close"},
  };
  for (const auto& [bad, text] : expected) {
    SCOPED_TRACE(bad);
    const auto backend = Make(bad);
    ASSERT_NE(backend, nullptr);
    Listener listener;
    ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
    ASSERT_TRUE(listener.Wait());
    EXPECT_EQ(listener.code, CSB_OK);
    EXPECT_EQ(listener.output, "hi");
    listener.op.Close();
    if (bad == "wild-ctx") {
      EXPECT_TRUE(services_.Logged(text));
    } else {
      EXPECT_TRUE(services_.Logged("plugin " + bad));
      EXPECT_TRUE(services_.Logged(text));
    }
    EXPECT_EQ(listener.after_done, 0);
  }
}

TEST_F(BadPluginsTest, ErrorsOfSubmitAreCleanErrors) {
  const std::map<std::string, std::string> expected = {
      {"throws-in-submit", "plugin throws-in-submit: submit threw an exception: throws-in-submit (rule 9)"},
      {"error-silently", "plugin error-silently: submit failed with code 10 and no message (rule 19)"},
      {"error-then-done", "plugin error-then-done: submit failed with code 10"},
      {"error-and-handle", "no"},
  };
  for (const auto& [bad, text] : expected) {
    SCOPED_TRACE(bad);
    const auto backend = Make(bad);
    ASSERT_NE(backend, nullptr);
    Listener listener;
    const Status status = listener.Submit(*backend, timers_, Ask());
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr(text));
    EXPECT_FALSE(listener.op);
    if (bad == "error-then-done") {
      EXPECT_TRUE(services_.Logged("plugin error-then-done called on_done"));
    }
    if (bad == "error-and-handle") {
      EXPECT_TRUE(services_.Logged("returned an error from submit and a handle (rule 10)"));
    }
    EXPECT_FALSE(listener.done);
    EXPECT_EQ(OpenOperations(*backend), 0u);
  }
  // The answer came first: it stands, and the error that follows is the fault.
  const auto backend = Make("done-then-error");
  Listener listener;
  ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
  ASSERT_TRUE(listener.Wait());
  EXPECT_EQ(listener.code, CSB_OK);
  EXPECT_TRUE(services_.Logged("called back and then returned an error from submit (rule 10)"));
  EXPECT_EQ(listener.after_done, 0);
}

TEST_F(BadPluginsTest, CallsThatThrowEndTheOperation) {
  for (const std::string call : {"input", "credit", "cancel"}) {
    SCOPED_TRACE(call);
    const auto backend = Make("throws-in-" + call);
    ASSERT_NE(backend, nullptr);
    Listener listener;
    Request request = Ask();
    request.flags = CSB_REQUEST_INPUT;
    ASSERT_TRUE(listener.Submit(*backend, timers_, request));
    ASSERT_TRUE(listener.WaitInput());
    EXPECT_EQ(listener.op.Input(Str(std::string(101, 'x')), false), CSB_E_INVALID);
    if (call == "input") {
      EXPECT_EQ(listener.op.Input(Str("x"), true), CSB_E_INTERNAL);
    }
    if (call == "credit") listener.op.Credit(1);
    if (call == "cancel") listener.op.Cancel(CSB_E_CANCELLED);
    ASSERT_TRUE(listener.Wait());
    EXPECT_TRUE(services_.Logged("plugin throws-in-" + call));
    EXPECT_TRUE(services_.Logged(call + " threw an exception"));
    EXPECT_EQ(listener.code, CSB_E_INTERNAL);
    EXPECT_EQ(listener.after_done, 0);
  }
  const auto backend = Make("calls-in-cancel");
  Listener listener;
  ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
  ASSERT_TRUE(listener.WaitInput());
  listener.op.Cancel(CSB_E_CANCELLED);
  ASSERT_TRUE(listener.Wait());
  EXPECT_TRUE(services_.Logged("plugin calls-in-cancel called on_output from inside a call (rule 16)"));
  EXPECT_EQ(listener.output, "");
}

TEST_F(BadPluginsTest, AnErrorWithoutReasonGetsOne) {
  const auto backend = Make("no-reason");
  Listener listener;
  ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
  ASSERT_TRUE(listener.Wait());
  EXPECT_EQ(listener.code, CSB_E_IO);
  EXPECT_EQ(listener.message, "plugin no-reason gave no reason for code 16");
}

TEST_F(BadPluginsTest, OverlappingCallbacksAreSerialized) {
  const auto backend = Make("overlaps");
  Listener listener;
  ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
  ASSERT_TRUE(listener.Wait());
  EXPECT_EQ(listener.after_done, 0);
  EXPECT_THAT(listener.code, AnyOf(CSB_OK, CSB_E_INTERNAL));  // as the threads met or not
}

TEST_F(BadPluginsTest, IgnoredCancelIsLeftBehindAndItsLateEndSwallowed) {
  for (const bool by_deadline : {false, true}) {
    Gate gate;
    auto backend = gate.Make("ignores-cancel");
    ASSERT_NE(backend, nullptr);
    {
      Listener listener;
      Request request = Ask();
      const auto now = std::chrono::steady_clock::now();
      if (by_deadline) request.deadline_ns = static_cast<uint64_t>((now + 50ms).time_since_epoch().count());
      ASSERT_TRUE(listener.Submit(*backend, timers_, request));
      if (!by_deadline) listener.op.Cancel(CSB_E_CANCELLED);
      ASSERT_TRUE(listener.Wait());
      EXPECT_GE(std::chrono::steady_clock::now() - now, by_deadline ? 350ms : 200ms);
      EXPECT_EQ(listener.code, CSB_E_INTERNAL);
      EXPECT_THAT(listener.message, HasSubstr("plugin ignores-cancel ignored cancel of operation shell"));
      EXPECT_TRUE(gate.Logged("ignored cancel of operation shell"));
    }
    EXPECT_EQ(OpenOperations(*backend), 1u);
    gate.may_end = true;
    backend.reset();  // waits for the late end
    EXPECT_THAT(gate.lines(), Not(Contains(HasSubstr("still holds"))));
  }
}

// Whatever hangs, hangs alone: its callers hear that, and nobody else waits (see TearDown too).

TEST_F(BadPluginsTest, ACreateThatHangsIsRefused) {
  const auto plugin = LoadPlugin(kDir + "/operations/bad-hangs-in-create.so");
  ASSERT_TRUE(plugin);
  const auto instance = BackendInstance::Create(*plugin, services_, {.create = 100ms});
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().message,
            "plugin hangs-in-create: create has not returned within 100 ms (rule 8); it is left behind");
}

TEST_F(BadPluginsTest, ADestroyThatHangsIsLeftBehind) {
  const auto plugin = LoadPlugin(kDir + "/operations/bad-hangs-in-destroy.so");
  ASSERT_TRUE(plugin);
  auto instance = BackendInstance::Create(*plugin, services_, {.destroy = 100ms});
  ASSERT_TRUE(instance);
  instance->reset();
  EXPECT_TRUE(services_.Logged("plugin hangs-in-destroy: destroy has not returned within 100 ms (rule 22)"));
}

TEST_F(BadPluginsTest, ASubmitThatHangsEndsForItsCallerSoonAfterTheDeadline) {
  Gate gate;
  auto backend = gate.Make("hangs-in-submit");
  ASSERT_NE(backend, nullptr);
  Listener listener;
  Request request = Ask();
  request.deadline_ns =
      static_cast<uint64_t>((std::chrono::steady_clock::now() + 50ms).time_since_epoch().count());
  std::thread stuck([&] { EXPECT_TRUE(listener.Submit(*backend, timers_, request)); });
  EXPECT_TRUE(listener.Wait());
  EXPECT_EQ(listener.code, CSB_E_INTERNAL);
  EXPECT_EQ(listener.message,
            "plugin hangs-in-submit has not returned from submit of operation shell (rule 21)");
  EXPECT_TRUE(gate.Logged("has not returned from submit of operation shell (rule 21)"));
  gate.may_end = true;
  stuck.join();
  listener.op.Close();
  EXPECT_EQ(listener.after_done, 0);
  backend.reset();
  EXPECT_THAT(gate.lines(), Not(Contains(HasSubstr("still holds"))));
}

TEST_F(BadPluginsTest, ACancelOrCloseThatHangsHoldsUpNobody) {
  for (const std::string call : {"cancel", "close"}) {
    SCOPED_TRACE(call);
    Gate gate;
    auto backend = gate.Make("hangs-in-" + call);
    ASSERT_NE(backend, nullptr);
    for (int i = 0; i < 2; ++i) {
      Listener listener;
      ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
      if (call == "cancel") listener.op.Cancel(CSB_E_CANCELLED);
      ASSERT_TRUE(listener.Wait());
      EXPECT_EQ(listener.code, call == "cancel" ? CSB_E_INTERNAL : CSB_OK);
      listener.op.Close();
    }
    EXPECT_EQ(OpenOperations(*backend), 2u);
    gate.may_end = true;
    backend.reset();
    EXPECT_THAT(gate.lines(), Not(Contains(HasSubstr("still holds"))));
  }
}

TEST_F(BadPluginsTest, ABackendThatNeverEndsIsNotDestroyed) {
  auto backend = Make("never-done");
  {
    Listener listener;
    ASSERT_TRUE(listener.Submit(*backend, timers_, Ask()));
    listener.op.Cancel(CSB_E_CANCELLED);
    ASSERT_TRUE(listener.Wait());
    EXPECT_THAT(listener.message, HasSubstr("ignored cancel"));
  }
  backend.reset();
  EXPECT_TRUE(services_.Logged("still holds 1 operations"));
}

TEST_F(BadPluginsTest, DestroyMayThrow) {
  Make("throws-in-destroy").reset();
  EXPECT_TRUE(services_.Logged("plugin throws-in-destroy: destroy threw an exception"));
}

TEST_F(BadPluginsTest, GivenUpOperationsHearNothing) {
  for (int i = 0; i < 200; ++i) {
    Listener listener;
    ASSERT_TRUE(listener.Submit(*good_, timers_, Ask()));
    listener.op.Close();
    const bool done = listener.done;
    EXPECT_EQ(listener.after_done, 0);
    EXPECT_EQ(listener.done, done);
  }
}

TEST_F(BadPluginsTest, CancelCreditAndCloseMayRaceWithTheEnd) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        Listener listener;
        Request request = Ask();
        request.output_credit = 1;  // the rest when it is given
        request.deadline_ns = static_cast<uint64_t>(
            (std::chrono::steady_clock::now() + std::chrono::microseconds(i)).time_since_epoch().count());
        ASSERT_TRUE(listener.Submit(*good_, timers_, request));
        listener.op.Credit(UINT64_MAX);
        if ((i + t) % 3 == 0) listener.op.Cancel(CSB_E_CANCELLED);
        if ((i + t) % 4 == 0)
          listener.op.Close();
        else
          ASSERT_TRUE(listener.Wait());
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(services_.counter("csb_plugin_violations_total"), 0);
}

}  // namespace
}  // namespace csb::host
