// SPDX-License-Identifier: Apache-2.0
#include "host/commands/app.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/ask.h"

namespace csb::host {
namespace {

// A host without any plugin.
class AppTest : public testing::Test {
 protected:
  AppTest() {
    char name[] = "/tmp/csb-app-test-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~AppTest() override { std::filesystem::remove_all(folder_); }

  AppOptions Options(std::vector<std::pair<std::string, std::string>> keys = {}) {
    AppOptions options;
    options.environ = {{"HOME", folder_}};
    options.silent = true;
    options.keys = {{"sandbox.plugin_dirs", folder_}, {"sandbox.state_dir", folder_ + "/state"}};
    options.keys.insert(options.keys.end(), keys.begin(), keys.end());
    return options;
  }
  std::string folder_;
};

TEST_F(AppTest, AWrongConfigurationIsAnErrorOfTheUsers) {
  auto app = App::Create(Options({{"log.level", "loud"}}));
  ASSERT_FALSE(app);
  EXPECT_EQ(app.error().code, CSB_E_INVALID);
  EXPECT_NE(app.error().message.find("log.level = 'loud' is not one of"), std::string::npos)
      << app.error().message;
}

TEST_F(AppTest, WithoutBackendsTheServiceAnswersThatItIsUnhealthy) {
  auto app = App::Create(Options());
  ASSERT_TRUE(app) << app.error().message;
  ASSERT_TRUE((*app)->StartService());
  auto health = Ask(*(*app)->service(), CSB_OP_HEALTH, "", "{}", std::chrono::seconds(10));
  ASSERT_TRUE(health) << health.error().message;
  auto document = json::ParseObject(*health);
  ASSERT_TRUE(document);
  EXPECT_EQ(json::GetString(*document, "status"), "unhealthy");
  auto shell =
      Ask(*(*app)->service(), CSB_OP_SHELL, "ann", R"({"command":"true"})", std::chrono::seconds(10));
  ASSERT_FALSE(shell);
  EXPECT_EQ(shell.error().code, CSB_E_UNAVAILABLE) << shell.error().message;
  (*app)->Shutdown(std::chrono::seconds(1));
  (*app)->Shutdown(std::chrono::seconds(1));
}

TEST_F(AppTest, ALeanHostLoadsOnlyWhatItUses) {
  for (const char* name : {"acme", "bubblewrap", "docker", "http", "stdio"})
    std::ofstream(folder_ + "/" + name + ".so") << "no library";
  const std::string file = folder_ + "/host.conf";
  std::ofstream(file) << "[docker]\nimage = x\n[http]\nnonsense = y\n";
  AppOptions options = Options({{"sandbox.mode", "bubblewrap"}});
  options.config_file = file;
  options.lean = true;
  options.frontends = {"stdio"};
  const auto tried = [](const App& app) {
    std::set<std::string> names;
    for (const auto& [path, why] : app.plugins().refused) names.insert(std::filesystem::path(path).stem());
    return names;
  };
  auto app = App::Create(options);
  ASSERT_TRUE(app) << app.error().message;
  EXPECT_EQ(tried(**app), (std::set<std::string>{"acme", "bubblewrap", "stdio"}));
  // Keys of what nobody has are refused as ever, and so are those of the command line.
  for (const char* key : {"dockr.image", "docker.image"}) {
    AppOptions more = options;
    more.keys.emplace_back(key, "x");
    app = App::Create(more);
    ASSERT_FALSE(app) << key;
    EXPECT_NE(app.error().message.find("unknown key '" + std::string(key)), std::string::npos)
        << app.error().message;
  }
  options.keys = Options().keys;  // auto
  app = App::Create(options);
  ASSERT_FALSE(app) << "it is loaded, and broken";
}

TEST_F(AppTest, WhatIsNotLoadedIsStillSuggestedAndTold) {
  std::ofstream(folder_ + "/docker.so") << "no library";
  AppOptions options = Options({{"sandbox.backends", "dcker"}});
  options.lean = true;
  auto app = App::Create(options);
  ASSERT_TRUE(app) << app.error().message;
  (*app)->CreateBackends();
  ASSERT_EQ((*app)->backend_failures().size(), 1u);
  EXPECT_NE((*app)->backend_failures()[0].error.message.find("did you mean docker?"), std::string::npos)
      << (*app)->backend_failures()[0].error.message;
  ASSERT_TRUE((*app)->StartService());
  auto info = Ask(*(*app)->service(), CSB_OP_INFO, "", "{}", std::chrono::seconds(10));
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_NE(info->find("is not in sandbox.backends"), std::string::npos) << *info;
}

TEST_F(AppTest, ABackendThatIsNotThereIsKeptAsAFailure) {
  auto app = App::Create(Options({{"sandbox.backends", "nope"}}));
  ASSERT_TRUE(app) << app.error().message;
  (*app)->CreateBackends();
  ASSERT_EQ((*app)->backend_failures().size(), 1u);
  EXPECT_NE((*app)->backend_failures()[0].error.message.find("command line: no backend plugin 'nope'"),
            std::string::npos);
}

TEST_F(AppTest, AFrontendThatIsNotThereIsNamed) {
  auto app = App::Create(Options());
  ASSERT_TRUE(app);
  ASSERT_TRUE((*app)->StartService());
  auto status = (*app)->StartFrontends({"http"}, [](int) {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "no frontend plugin 'http' was found");
}

TEST_F(AppTest, PluginsMayUseTheHostBeforeItIsComplete) {
  auto app = App::Create(Options());
  ASSERT_TRUE(app);
  EXPECT_FALSE((*app)->Post([] {}));
  (*app)->Count("csb_early_total", "{}", 1);  // kept until there are metrics
  EXPECT_EQ((*app)->Config("log.level"), "info");
  EXPECT_EQ((*app)->Config("no.such"), std::nullopt);
  EXPECT_TRUE((*app)->StartService());
}

}  // namespace
}  // namespace csb::host
