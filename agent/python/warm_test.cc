// SPDX-License-Identifier: Apache-2.0
//
// A run that is a fork of a started interpreter is to be what `python3 file.py` is: testdata/programs.txt is
// run both ways. And a user's code that gets at the interpreter behind it can spoil its own runs at most.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "agent/base/loop.h"
#include "agent/testing/agent_under_test.h"

namespace csb::agent::testing {
namespace {

using ::testing::HasSubstr;

struct Program {
  std::string name, code, input;
  json::Document options;
  bool has_input = false;
};

// `#### name {"stdin":"…","env":{…}}`, then the code.
std::vector<Program> Programs() {
  std::ifstream file(CSB_SOURCE_DIR "/agent/python/testdata/programs.txt");
  std::vector<Program> programs;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("#### ", 0) != 0) {
      programs.back().code += line + "\n";
      continue;
    }
    Program program;
    const size_t options = line.find(" {");
    program.name = line.substr(5, options == std::string::npos ? options : options - 5);
    program.options = *json::Parse(options == std::string::npos ? "{}" : line.substr(options + 1));
    if (const auto input = json::GetString(program.options, "stdin")) {
      program.has_input = true;
      program.input = *input;
    }
    programs.push_back(std::move(program));
  }
  return programs;
}

std::string Arguments(const std::string& code, const json::Value* env = nullptr) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", code);
  if (env != nullptr) {
    json::Key(w, "env");
    env->Accept(w);
  }
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// What differs between any two runs: where the code lies, which processes they are.
std::string Comparable(std::string text, const std::string& workspace) {
  text = std::regex_replace(text, std::regex("/[^ \"'\\n]*/clara-[A-Za-z0-9]{6}"), "FOLDER");
  for (size_t at; (at = text.find(workspace)) != std::string::npos;)
    text.replace(at, workspace.size(), "WORKSPACE");
  text = std::regex_replace(text, std::regex("0x[0-9a-f]{8,}"), "ADDRESS");
  return std::regex_replace(text, std::regex("(python3?:? ?|Process |pid=)[0-9]+"), "$1N");
}

class Warm : public ::testing::Test {
 protected:
  Ending Run(AgentUnderTest& agent, const std::string& code) {
    return agent.host().Run({.op = "execute", .args = Arguments(code)});
  }
  // Until runs are forks of the started interpreter: two in the same folder.
  void Prime(AgentUnderTest& agent) {
    std::string before;
    for (const int64_t end = NowNs() + 20 * kSecond; NowNs() < end;) {
      const std::string now = Run(agent, "print(__file__)").out;
      if (now == before) return;
      before = now;
    }
    FAIL() << "no interpreter is kept";
  }
};

TEST_F(Warm, RunsAreWhatThePlainInterpreterMakesOfThem) {
  AgentUnderTest plain({.binary = true, .more = {"--warm-python", "0"}});
  AgentUnderTest warm({.binary = true});
  Prime(warm);
  const auto programs = Programs();
  ASSERT_GE(programs.size(), 100u);
  for (const Program& program : programs) {
    SCOPED_TRACE(program.name);
    Request request{.op = "execute",
                    .args = Arguments(program.code, json::Find(program.options, "env")),
                    .timeout_ms = 20'000};
    if (program.has_input) request.input = program.input;
    const Ending wanted = plain.host().Run(request);
    const Ending got = warm.host().Run(request);
    EXPECT_EQ(Comparable(got.out, warm.workspace()), Comparable(wanted.out, plain.workspace()));
    EXPECT_EQ(Comparable(got.err, warm.workspace()), Comparable(wanted.err, plain.workspace()));
    for (const char* member : {"exit_code", "signal"})
      EXPECT_EQ(got.result_int(member), wanted.result_int(member)) << member;
    EXPECT_EQ(got.result_text("cause"), wanted.result_text("cause"));
    // It was a fork, and the next is one again.
    Prime(warm);
  }
}

TEST_F(Warm, EachRunIsFresh) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  EXPECT_EQ(
      Run(agent,
          "import os, sys, json\njson.mine = 1\nos.environ['X'] = '1'\nos.chdir('/')\nsys.path.append('/x')")
          .err,
      "");
  const Ending next = Run(
      agent,
      "import os, sys, json\nprint(hasattr(json, 'mine'), 'X' in os.environ, os.getcwd(), '/x' in sys.path)");
  EXPECT_EQ(next.out, "False False " + agent.workspace() + " False\n") << next.err;
}

TEST_F(Warm, RandomNumbersDifferFromRunToRun) {
  AgentUnderTest agent({.binary = true, .more = {"--preload", "random,uuid,secrets,tempfile"}});
  Prime(agent);
  std::set<std::string> seen;
  for (int i = 0; i < 10; ++i)
    for (const char* code : {"import random; print(random.random())",
                             "import secrets; print(secrets.token_hex())", "import uuid; print(uuid.uuid4())",
                             "import os; print(os.urandom(8))", "import uuid; print(uuid.uuid1())"})
      EXPECT_TRUE(seen.insert(Run(agent, code).out).second) << code;
}

TEST_F(Warm, ModulesAreLoadedAheadAsConfigured) {
  AgentUnderTest agent({.binary = true, .more = {"--preload", "json,no_such_module,decimal"}});
  Prime(agent);
  EXPECT_EQ(Run(agent, "import sys; print('json' in sys.modules, 'decimal' in sys.modules)").out,
            "True True\n");
}

TEST_F(Warm, ArgumentsAndFolderAreTheRuns) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  const Ending ending =
      agent.host().Run("execute", R"x({"code":"import os, sys\nprint(sys.argv[1:], os.getcwd(), )x"
                                  R"x(sys.path[1])","args":["a","","b c"],"cwd":"/usr"})x");
  EXPECT_EQ(ending.out, "['a', '', 'b c'] /usr /usr\n") << ending.err;
  const Ending none = agent.host().Run("execute", R"x({"code":"print(1)","cwd":"/none"})x");
  EXPECT_NE(none.code(), 0);
  EXPECT_THAT(none.message(), HasSubstr("/none"));
  EXPECT_EQ(Run(agent, "print(2)").out, "2\n");
}

TEST_F(Warm, APackageThatWasInstalledIsThere) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  const Ending made =
      Run(agent,
          "import site, os\np = site.getusersitepackages()\nos.makedirs(p, exist_ok=True)\n"
          "open(p + '/fresh_package.py', 'w').write('x = 7')\n"
          "open(p + '/fresh.pth', 'w').write('import os; os.environ[\"PTH\"] = \"read\"\\n')");
  ASSERT_EQ(made.err, "");
  EXPECT_EQ(Run(agent, "import fresh_package, os\nprint(fresh_package.x, os.environ.get('PTH'))").out,
            "7 read\n");
}

TEST_F(Warm, DeadlineAndCancelKillEveryDescendant) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  const std::string marker = "86" + std::to_string(getpid());
  const std::string code =
      "import subprocess, os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        "
      "os.execvp('sleep', ['sleep', '" +
      marker + "'])\n    os._exit(0)\ntime.sleep(100)";
  const Ending ending = agent.host().Run({.op = "execute", .args = Arguments(code), .timeout_ms = 300});
  EXPECT_EQ(ending.result_text("cause"), "deadline");
  EXPECT_TRUE(ProcessesWith(marker).empty());
  const std::string leaves =
      "import subprocess\nsubprocess.Popen(['sleep', '" + marker + "'], start_new_session=True)";
  EXPECT_EQ(Run(agent, leaves).result_int("exit_code"), 0);
  EXPECT_TRUE(ProcessesWith(marker).empty());
  Prime(agent);
}

TEST_F(Warm, CodeThatStopsOrKillsTheInterpreterIsSpoilingNothing) {
  AgentUnderTest agent({.binary = true});
  for (const char* signal : {"SIGKILL", "SIGSTOP"}) {
    Prime(agent);
    SCOPED_TRACE(signal);
    // All processes of this user, itself last.
    const std::string code =
        std::string(
            "import os, signal, time\nfor p in os.listdir('/proc'):\n    try:\n        if p.isdigit() and "
            "int(p) != os.getpid() and b'clara-' in open(f'/proc/{p}/cmdline', 'rb').read():\n            "
            "os.kill(int(p), signal.") +
        signal + ")\n    except OSError:\n        pass\nprint('done')";
    EXPECT_EQ(Run(agent, code).out, "done\n");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Run(agent, "print(1)").out, "1\n");
  }
  Prime(agent);
}

TEST_F(Warm, WhatCodeLeavesBesideItselfIsNotFoundByTheNext) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  EXPECT_EQ(
      Run(agent, "import os\nopen(os.path.dirname(__file__) + '/json.py', 'w').write('planted = 1')").err,
      "");
  EXPECT_EQ(Run(agent, "import json\nprint(hasattr(json, 'planted'))").out, "False\n");
  EXPECT_EQ(Run(agent,
                "import os\nd = os.path.dirname(__file__)\nos.rename(d, d + 'x')\nos.mkdir(d)\nopen(d + "
                "'/__main__.py', 'w').write('print(666)')")
                .err,
            "");
  EXPECT_EQ(Run(agent, "print(5)").out, "5\n");
}

TEST_F(Warm, ManyAtOnce) {
  AgentUnderTest agent({.binary = true});
  Prime(agent);
  for (int round = 0; round < 5; ++round) {
    std::vector<uint32_t> streams;
    for (int i = 0; i < 8; ++i)
      streams.push_back(
          agent.host().Open({.op = "execute", .args = Arguments("print(" + std::to_string(i) + ")")}));
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(agent.host().Wait(streams[static_cast<size_t>(i)]).out, std::to_string(i) + "\n");
  }
}

TEST_F(Warm, NothingIsLeftOfAnAgentThatEnds) {
  std::string folder;
  {
    AgentUnderTest agent({.binary = true});
    Prime(agent);
    folder = Run(agent, "print(__file__.split('/')[-2])").out;
    folder.pop_back();
    EXPECT_FALSE(ProcessesWith(folder).empty());
  }
  EXPECT_TRUE(ProcessesWith(folder).empty());
}

}  // namespace
}  // namespace csb::agent::testing
