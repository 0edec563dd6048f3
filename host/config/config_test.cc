// SPDX-License-Identifier: Apache-2.0
#include "host/config/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/config/file.h"
#include "host/config/host_options.h"

namespace csb::host {
namespace {

using testing::Test;

constexpr uint32_t kSize = sizeof(csb_option);
constexpr csb_option kWebOptions[] = {
    {kSize, CSB_OPTION_INT, "web.port", "WEB_PORT", "8080", "Port.", nullptr, 1, 65535},
    {kSize, CSB_OPTION_SECRET, "web.key", "WEB_KEY SANDBOX_API_KEY", nullptr, "Key.", nullptr, 0, 0},
    {kSize, CSB_OPTION_PATH, "web.cert", nullptr, nullptr, "Certificate.", nullptr, 0, 0},
    {kSize, CSB_OPTION_SECONDS, "web.timeout", "WEB_TIMEOUT OLD_WEB_TIMEOUT", "60", "Time.", nullptr, 1,
     3600},
    {kSize, CSB_OPTION_SIZE, "web.body", nullptr, "32MiB", "Body.", nullptr, 1024, 1 << 30},
};

class ConfigTest : public Test {
 protected:
  ConfigTest() {
    char name[] = "/tmp/csb-config-test-XXXXXX";
    folder_ = mkdtemp(name);
    EXPECT_TRUE(schema_.Add("host", HostOptions()));
    EXPECT_TRUE(schema_.Add("web", kWebOptions));
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& text, const std::string& name = "test.conf") {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // The message that loading ends with; "" if it works.
  std::string Failure(const ConfigSources& sources) {
    auto config = Config::Load(schema_, sources);
    return config ? "" : config.error().message;
  }

  std::string folder_;
  Schema schema_;
};

TEST_F(ConfigTest, CommandLineBeatsEnvironmentBeatsFileBeatsDefault) {
  ConfigSources sources;
  auto port = [&] {
    auto config = Config::Load(schema_, sources);
    EXPECT_TRUE(config) << config.error().message;
    return config->Text("web.port") + " from " + config->Where("web.port");
  };
  EXPECT_EQ(port(), "8080 from default");
  sources.file = File("[web]\n\nport = 1\n");
  EXPECT_EQ(port(), "1 from " + sources.file + ":3");
  sources.environ["WEB_PORT"] = "2";
  EXPECT_EQ(port(), "2 from environment variable WEB_PORT");
  sources.command_line = {{"web.port", "3"}, {"web.port", "4"}};
  EXPECT_EQ(port(), "4 from command line");
}

TEST_F(ConfigTest, TypedGettersSeeNormalValues) {
  auto config = Config::Load(schema_, {.file = File("web.timeout = 2m # top level, with its section\n"),
                                       .environ = {{"SANDBOX_MAX_CONTAINERS", "7"}}});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->Number("web.timeout"), 120);
  EXPECT_EQ(config->Int("web.body"), 32 << 20);
  EXPECT_EQ(config->Int("sandbox.max_sandboxes"), 7);
  EXPECT_EQ(config->List("sandbox.order"), (std::vector<std::string>{"docker", "incus", "bubblewrap"}));
  EXPECT_EQ(config->Get("web.key"), std::nullopt);
  EXPECT_EQ(config->Get("no.such"), std::nullopt);
  EXPECT_FALSE(config->IsSet("web.port"));
  EXPECT_TRUE(config->IsSet("web.timeout"));
}

TEST_F(ConfigTest, ValuesStayWhereTheyAreWhenTheConfigMoves) {
  auto loaded = Config::Load(schema_, {});
  ASSERT_TRUE(loaded);
  const std::string_view before = *loaded->Get("web.port");
  Config moved = *std::move(loaded);
  EXPECT_EQ(moved.Get("web.port")->data(), before.data());
}

TEST_F(ConfigTest, TheFirstEnvironmentNameThatIsSetWins) {
  auto load = [&](Environ environ) {
    auto config = Config::Load(schema_, {.environ = std::move(environ)});
    return config ? config->Text("web.timeout") : config.error().message;
  };
  EXPECT_EQ(load({{"OLD_WEB_TIMEOUT", "7"}}), "7");
  EXPECT_EQ(load({{"OLD_WEB_TIMEOUT", "7"}, {"WEB_TIMEOUT", "8"}}), "8");
  EXPECT_EQ(load({{"OLD_WEB_TIMEOUT", "7"}, {"WEB_TIMEOUT", ""}}), "7");
  EXPECT_EQ(load({{"WEB_TIMEOUT", "x"}}),
            "environment variable WEB_TIMEOUT: web.timeout = 'x' is not a time; write it like 30, 1.5, "
            "500ms, 15m or 1h");
  EXPECT_EQ(load({{"DOCKER_SANDBOX_IMAGE", "python:3"}, {"WEB_TIMOUT", "-"}}), "60");
}

TEST_F(ConfigTest, AnUnknownKeyNamesFileAndLineAndTheLikelyOne) {
  const std::string file = File("# comment\n[web]\nport = 1\nprot = 2\n");
  EXPECT_EQ(Failure({.file = file}), file + ":4: unknown key 'web.prot'; did you mean web.port?");
  const std::string other = File("[docker]\nimage = python:3.12-slim\n");
  EXPECT_EQ(Failure({.file = other}), other +
                                          ":2: unknown key 'docker.image'; no plugin 'docker' was found "
                                          "(`clara-sandbox plugins` lists them)");
  EXPECT_EQ(Failure({.command_line = {{"web.prot", "1"}}}),
            "command line: unknown key 'web.prot'; did you mean web.port?");
}

TEST_F(ConfigTest, EveryMistakeOfAFileIsToldAtOnce) {
  const std::string file = File("[web]\nport = 0\ntimeout = soon\n[sandbox]\nmax_sandboxes = many\n");
  EXPECT_EQ(Failure({.file = file}),
            file + ":2: web.port = '0' is less than the minimum 1\n" + file +
                ":3: web.timeout = 'soon' is not a time; write it like 30, 1.5, 500ms, 15m or 1h\n" + file +
                ":5: sandbox.max_sandboxes = 'many' is not a whole number");
}

TEST_F(ConfigTest, ASecretIsNeverInAMessage) {
  const std::string file = File("[web]\nkey = hush\x01\n");
  const std::string message = Failure({.environ = {{"WEB_KEY", "hush\x01"}}});
  EXPECT_EQ(message, "environment variable WEB_KEY: web.key: the value has a control character");
  EXPECT_EQ(Failure({.file = file}).find("hush"), std::string::npos) << Failure({.file = file});
}

TEST_F(ConfigTest, RelativePathsOfAFileStartAtItsFolder) {
  auto config = Config::Load(schema_, {.file = File("[web]\ncert = tls/cert.pem\n")});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->Text("web.cert"), folder_ + "/tls/cert.pem");
  auto line = Config::Load(schema_, {.command_line = {{"web.cert", "tls/cert.pem"}}, .folder = "/srv"});
  EXPECT_EQ(line->Text("web.cert"), "/srv/tls/cert.pem");
  auto none = Config::Load(schema_, {.file = File("[web]\ncert =\n")});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->Get("web.cert"), std::nullopt);
}

TEST_F(ConfigTest, LinesThatAreNoSettingsNameTheirPlace) {
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"port\n", ":1: 'port' is not of the form: key = value"},
      {"\n= 3\n", ":2: '= 3' is not of the form: key = value"},
      {"[web\nport=1\n", ":1: '[web' is not of the form: [section]"},
      {"[]\n", ":1: '[]' is not of the form: [section]"},
      {"[web]\nport=1\n[web]\nport=2\n", ":4: web.port is set twice; the first time in line 2"},
      {"[web]\nport = \"80\"\n", ":2: web.port: a value is written without quotes"},
      {"[web]\nkey = abc#def\n",
       ":2: the line has a # inside a value, where a comment would start; put a blank "
       "before a comment, and give values that need a # by the environment"},
      {"[web]\n\xff\xfe\n", ":2: the line is not valid UTF-8"},
      {"[web]\nport = 1\x1b\n", ":2: the line has a control character"},
  };
  for (const auto& c : cases) {
    const std::string file = File(c.text);
    EXPECT_EQ(Failure({.file = file}), file + c.error);
  }
  const std::string nul = File(std::string("# \0\n", 4));
  EXPECT_EQ(Failure({.file = nul}), nul + ":1: the line has a NUL byte; this is not a text file");
}

TEST_F(ConfigTest, WindowsLineEndsAndAByteOrderMarkAreFine) {
  auto config = Config::Load(schema_, {.file = File("\xEF\xBB\xBF[web]\r\nport = 81\r\n")});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->Int("web.port"), 81);
}

TEST_F(ConfigTest, WhatIsNoSmallTextFileIsRefused) {
  EXPECT_EQ(Failure({.file = folder_}), "configuration file " + folder_ + ": is not a regular file");
  EXPECT_EQ(Failure({.file = folder_ + "/none"}),
            "configuration file " + folder_ + "/none: No such file or directory");
  EXPECT_EQ(Failure({.file = "/dev/zero"}), "configuration file /dev/zero: is not a regular file");
  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(Failure({.file = fifo}), "configuration file " + fifo + ": is not a regular file");
  const std::string big = File(std::string(kMaxConfigFile + 1, '\n'));
  EXPECT_EQ(Failure({.file = big}), "configuration file " + big + ": is larger than 1 MiB");
  const std::string wide = File("[web]\nkey = " + std::string(kMaxValue, 'x') + "\n");
  EXPECT_EQ(Failure({.file = wide}), wide + ":2: the line is longer than 64 KiB");
  const std::string binary =
      File(std::string("\x7f"
                       "ELF\x02\x01\0\0",
                       8));
  EXPECT_EQ(Failure({.file = binary}), binary + ":1: the line has a NUL byte; this is not a text file");
}

TEST_F(ConfigTest, FindsTheFileThatIsNamedElseTheUsersElseNone) {
  std::filesystem::create_directories(folder_ + "/clara-sandbox");
  const std::string own = File("", "clara-sandbox/clara-sandbox.conf");
  EXPECT_EQ(FindConfigFile("/x", {{"CLARA_SANDBOX_CONFIG", "/y"}}), "/x");
  EXPECT_EQ(FindConfigFile("", {{"CLARA_SANDBOX_CONFIG", "/y"}, {"XDG_CONFIG_HOME", folder_}}), "/y");
  EXPECT_EQ(FindConfigFile("", {{"CLARA_SANDBOX_CONFIG", ""}, {"XDG_CONFIG_HOME", folder_}}), own);
  EXPECT_NE(FindConfigFile("", {{"XDG_CONFIG_HOME", folder_ + "/none"}}), own);
}

TEST_F(ConfigTest, ValuesThatDoNotFitTogetherAreRefused) {
  const auto check = [&](const ConfigSources& sources) {
    auto config = Config::Load(schema_, sources);
    EXPECT_TRUE(config) << config.error().message;
    auto status = CheckTogether(*config, {"mine"});
    return status ? config->Text("sandbox.default_execution_timeout") : status.error().message;
  };
  EXPECT_EQ(check({}), "30");
  EXPECT_EQ(check({.environ = {{"SANDBOX_MAX_EXECUTION_TIMEOUT", "10"}}}), "10");
  EXPECT_EQ(check({.environ = {{"SANDBOX_MAX_EXECUTION_TIMEOUT", "10"},
                               {"SANDBOX_DEFAULT_EXECUTION_TIMEOUT", "20"}}}),
            "environment variable SANDBOX_DEFAULT_EXECUTION_TIMEOUT: sandbox.default_execution_timeout: is "
            "more than "
            "sandbox.max_execution_timeout, which is 10 s");
  EXPECT_EQ(check({.environ = {{"SANDBOX_MODE", "mine"}}}), "30");
  EXPECT_EQ(check({.environ = {{"SANDBOX_MODE", "dockr"}}}),
            "environment variable SANDBOX_MODE: sandbox.mode: 'dockr' is neither auto nor a backend; did you "
            "mean docker?");
  EXPECT_EQ(check({.command_line = {{"sandbox.allow_unenforced", "disk, momory"}}}),
            "command line: sandbox.allow_unenforced: 'momory' is not a limit; did you mean memory?");
}

TEST_F(ConfigTest, WhatIsUnsetIsFoundOnTheMachine) {
  auto config = Config::Load(schema_, {.environ = {{"SANDBOX_DATA_DIR", "/srv/boxes"}}});
  ASSERT_TRUE(config);
  FillDefaults(*config, {{"HOME", "/home/ann"}});
  EXPECT_TRUE(config->Text("sandbox.plugin_dirs").ends_with("/lib/clara-sandbox/plugins"));
  EXPECT_FALSE(config->Text("sandbox.state_dir").empty());
  EXPECT_FALSE(config->Text("sandbox.runtime_dir").empty());
  EXPECT_FALSE(config->Text("run.user").empty());
  EXPECT_FALSE(config->IsSet("run.user"));
  EXPECT_EQ(config->Text("sandbox.data_dir"), "/srv/boxes");
}

TEST(SchemaTest, ABadDeclarationIsRefusedWithOwnerAndOption) {
  const auto add = [](csb_option option) {
    Schema schema;
    auto status = schema.Add("web", {&option, 1});
    return status ? "" : status.error().message;
  };
  const csb_option good = {kSize, CSB_OPTION_INT, "web.a", "WEB_A", "1", "", nullptr, 0, 0};
  EXPECT_EQ(add(good), "");
  auto changed = [&](auto change) {
    csb_option option = good;
    change(option);
    return add(option);
  };
  EXPECT_EQ(changed([](auto& o) { o.struct_size = 8; }),
            "web: option number 0: struct_size is 8, less than " + std::to_string(kSize));
  EXPECT_EQ(changed([](auto& o) { o.key = nullptr; }), "web: option number 0: has no key");
  EXPECT_EQ(changed([](auto& o) { o.key = "http.a"; }),
            "web: option http.a: the key does not start with web.");
  EXPECT_EQ(
      changed([](auto& o) { o.key = "web.A B"; }),
      "web: option web.A B: the key is not of the form section.name, with letters a-z, digits, _ and -");
  EXPECT_EQ(changed([](auto& o) { o.type = 77; }), "web: option web.a: its type 77 is not known");
  EXPECT_EQ(changed([](auto& o) { o.default_value = "x"; }),
            "web: option web.a: its default 'x' is not a whole number");
  EXPECT_EQ(changed([](auto& o) { o.min = 2, o.max = 1; }),
            "web: option web.a: its bounds are not min <= max");
  EXPECT_EQ(changed([](auto& o) { o.env = "GOOD bad-name"; }),
            "web: option web.a: 'bad-name' is not an environment name");
  EXPECT_EQ(changed([](auto& o) { o.type = CSB_OPTION_CHOICE; }), "web: option web.a: it has no choices");
  const csb_option twice[] = {good, good};
  Schema schema;
  EXPECT_EQ(schema.Add("web", twice).error().message, "web: option web.a: is declared twice");
  EXPECT_EQ(schema.Find("web.a"), nullptr);
}

TEST(SchemaTest, OptionsOfALaterHeaderMayBeLonger) {
  struct Longer {
    csb_option option;
    const char* later;
  };
  const Longer options[] = {
      {{sizeof(Longer), CSB_OPTION_INT, "web.a", nullptr, "1", "", nullptr, 0, 0}, "x"},
      {{sizeof(Longer), CSB_OPTION_INT, "web.b", nullptr, "2", "", nullptr, 0, 0}, "y"},
  };
  Schema schema;
  ASSERT_TRUE(schema.Add("web", {&options[0].option, 2}));
  ASSERT_NE(schema.Find("web.b"), nullptr);
  EXPECT_EQ(schema.Find("web.b")->default_value, "2");
}

}  // namespace
}  // namespace csb::host
