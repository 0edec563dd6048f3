// SPDX-License-Identifier: Apache-2.0
//
// Frontends behind FrontendInstance, and the table a plugin gets of its host. (Backends and
// loading: tests/bad_plugins.)
#include "host/plugin/instance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <stdexcept>
#include <thread>

#include "host/plugin/fake_services.h"
#include "host/plugin/host_table.h"

// One frontend of which tests choose the fault.
struct csb_frontend {
  const csb_host* host;
  const csb_frontend_events* events = nullptr;
  void* ctx = nullptr;
};

namespace csb::host {
namespace {

using ::testing::HasSubstr;

std::string fault;  // set before an instance is made
csb_frontend* last = nullptr;

void ThrowIf(const char* where) {
  if (fault == std::string("throws-in-") + where) throw std::runtime_error("on purpose");
}

csb_status Create(const csb_host* host, const csb_service_v1*, csb_frontend** out, csb_error*) {
  ThrowIf("create");
  *out = last = new csb_frontend{host};
  return CSB_OK;
}
csb_status Start(csb_frontend* self, const csb_frontend_events* events, void* ctx, csb_error* error) {
  ThrowIf("start");
  self->events = events;
  self->ctx = ctx;
  if (fault == "port-in-use") {
    std::strcpy(error->message, "cannot listen on 127.0.0.1:8080: in use");
    std::strcpy(error->hint, "choose another http.port");
    return CSB_E_UNAVAILABLE;
  }
  if (fault == "ends-while-starting") events->on_finished(ctx, 4);
  return CSB_OK;
}
void Stop(csb_frontend*) { ThrowIf("stop"); }
void Destroy(csb_frontend* self) {
  if (fault == "finishes-late") self->events->on_finished(self->ctx, 9);
  delete self;
  ThrowIf("destroy");
}
void Reload(csb_frontend*) { ThrowIf("reload"); }

csb_frontend_v1 table;
csb_plugin descriptor;

class FrontendInstanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fault.clear();
    table = {sizeof(csb_frontend_v1), 0, &Create, &Start, &Stop, &Destroy, &Reload};
    descriptor = {sizeof(csb_plugin),
                  CSB_PLUGIN_MAGIC,
                  CSB_ABI_MAJOR,
                  CSB_ABI_MINOR,
                  CSB_KIND_FRONTEND,
                  0,
                  "front",
                  "1.0.0",
                  "A frontend",
                  nullptr,
                  [](const char* id) -> const void* {
                    return std::string_view(id) == CSB_FRONTEND_V1 ? &table : nullptr;
                  }};
  }
  Result<std::unique_ptr<FrontendInstance>> Make() {
    return FrontendInstance::Create({"/plugins/front.so", &descriptor}, services_, nullptr);
  }
  std::promise<void> ran_;
  FakeServices services_{{{"front.port", "80"}, {"front.empty", ""}}};
};

TEST_F(FrontendInstanceTest, ReportsItsEndOnce) {
  auto front = Make();
  ASSERT_TRUE(front);
  std::vector<int> codes;
  ASSERT_TRUE((*front)->Start([&](int code) { codes.push_back(code); }));
  last->events->on_finished(last->ctx, 3);
  last->events->on_finished(last->ctx, 5);
  EXPECT_THAT(codes, ::testing::ElementsAre(3));
}

TEST_F(FrontendInstanceTest, AnEndWhileStartingIsReportedAfterIt) {
  fault = "ends-while-starting";
  auto front = Make();
  static std::promise<int> code;  // static: the worker that sets it may be at it when this returns
  static std::atomic<bool> started{false};
  ASSERT_TRUE((*front)->Start([](int c) {
    started.wait(false);
    code.set_value(c);
  }));
  started = true;
  started.notify_all();
  EXPECT_EQ(code.get_future().get(), 4);
}

TEST_F(FrontendInstanceTest, AnEndDuringOrAfterDestroyIsIgnored) {
  fault = "finishes-late";
  auto front = Make();
  ASSERT_TRUE((*front)->Start([](int) { ADD_FAILURE() << "reported"; }));
  const auto* events = last->events;
  void* ctx = last->ctx;
  front->reset();
  events->on_finished(ctx, 1);
}

TEST_F(FrontendInstanceTest, ErrorsKeepTheirHint) {
  fault = "port-in-use";
  auto front = Make();
  const Status status = (*front)->Start([](int) {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(status.error().message, "cannot listen on 127.0.0.1:8080: in use");
  EXPECT_EQ(status.error().hint, "choose another http.port");
}

TEST_F(FrontendInstanceTest, SurvivesExceptionsOfEachFunction) {
  fault = "throws-in-create";
  const auto made = Make();
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("plugin front: create threw an exception: on purpose"));
  fault = "throws-in-start";
  {
    auto front = Make();
    const Status status = (*front)->Start([](int) {});
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("plugin front: start threw an exception"));
  }
  for (const std::string where : {"stop", "reload", "destroy"}) {
    fault = "throws-in-" + where;
    auto front = Make();
    ASSERT_TRUE((*front)->Start([](int) {}));
    (*front)->Stop();
    (*front)->Reload();
    front->reset();
    EXPECT_TRUE(services_.Logged("plugin front: " + where + " threw an exception"));
  }
}

TEST_F(FrontendInstanceTest, RefusesTablesWithHoles) {
  const csb_frontend_v1 whole = table;
  table.start = nullptr;
  EXPECT_THAT(Make().error().message, HasSubstr("plugin front: csb_frontend_v1.start is null"));
  table = whole;
  table.destroy = nullptr;
  EXPECT_THAT(Make().error().message, HasSubstr("csb_frontend_v1.destroy is null"));
  table = whole;
  table.struct_size = 24;
  EXPECT_THAT(Make().error().message,
              HasSubstr("csb_frontend_v1.struct_size is 24, this host needs at least 48"));
  table = whole;
  table.reload = nullptr;  // optional
  auto front = Make();
  ASSERT_TRUE(front);
  (*front)->Reload();
  descriptor.kind = CSB_KIND_BACKEND;
  EXPECT_THAT(Make().error().message, HasSubstr("plugin front is not a frontend"));
}

TEST_F(FrontendInstanceTest, TheHostTableChecksWhatItIsGiven) {
  auto front = Make();
  ASSERT_TRUE(front);
  const csb_host* host = last->host;
  EXPECT_EQ(View(host->config(host, "front.port")), "80");
  const csb_str empty = host->config(host, "front.empty");
  EXPECT_NE(empty.data, nullptr);  // set, to nothing
  EXPECT_EQ(empty.size, 0u);
  EXPECT_EQ(host->config(host, "front.none").data, nullptr);
  EXPECT_EQ(host->config(host, nullptr).data, nullptr);
  host->log(host, 99, Str("loud"));
  EXPECT_TRUE(services_.Logged("4 front: loud"));
  host->count(host, Str("things"), {}, 2);
  EXPECT_EQ(services_.counter("things"), 2);
  EXPECT_EQ(host->post(host, nullptr, nullptr), CSB_E_INVALID);
  EXPECT_EQ(host->get_extension(host, "csb.later/1"), nullptr);
  const uint64_t before = host->now_ns(host);
  EXPECT_GE(host->now_ns(host), before);

  EXPECT_EQ(host->post(
                host, [](void* ctx) { static_cast<std::promise<void>*>(ctx)->set_value(); }, &ran_),
            CSB_OK);
  ran_.get_future().wait();
  EXPECT_EQ(host->post(
                host, [](void*) { throw std::runtime_error("in work"); }, nullptr),
            CSB_OK);
  EXPECT_TRUE(services_.Logged("posted work threw an exception: in work"));
  services_.workers().Stop();
  EXPECT_EQ(host->post(
                host, [](void*) {}, nullptr),
            CSB_E_UNAVAILABLE);
}

// The host ends operations of a plugin that ignores cancel on its workers: not behind that plugin's work.
TEST(HostTableTest, WorkOfPluginsTakesNoWorkerOfTheHost) {
  class Services : public FakeServices {
   public:
    bool PostForPlugin(std::function<void()>) override { return ++posted_for_plugins > 0; }
    bool Post(std::function<void()>) override { return ++posted > 0; }
    int posted = 0, posted_for_plugins = 0;
  } services;
  HostTable table("front", services);
  EXPECT_EQ(table.table()->post(
                table.table(), [](void*) {}, nullptr),
            CSB_OK);
  EXPECT_EQ(services.posted, 0);
  EXPECT_EQ(services.posted_for_plugins, 1);
}

}  // namespace
}  // namespace csb::host
