// SPDX-License-Identifier: Apache-2.0
//
// test_util.h: runs a file operation as the agent does, in a forked child, and gathers what it said.
//
//   Workspace ws;
//   ws.Write("a.txt", "hello");
//   Outcome got = Do(ws, "file_read", R"({"path":"a.txt"})");
//   EXPECT_EQ(got.out, "hello");
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/files/task.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent {

// A new folder under /tmp, owned by the user that children become; removed at the end.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  const std::string& path() const { return path_; }
  std::string At(const std::string& name) const { return path_ + "/" + name; }
  void Write(const std::string& name, const std::string& content) const;
  std::string Read(const std::string& name) const;  // "<missing>" when it is not there
  bool Exists(const std::string& name) const;       // a link counts by itself
  std::vector<std::string> Tree() const;            // all paths below, sorted
 private:
  std::string path_;
};

struct Outcome {
  int code = -1;       // of the last line; -1: there was none
  int exit_code = -1;  // of the child; 128 + signal when killed
  std::string out, err, message, hint;
  std::string meta;  // data of the META event
  json::Document result;
};

struct RunOptions {
  std::string input;
  bool end_of_input = true;  // false: the writing end stays open, the caller wants the child stuck
  int kill_after_ms = 0;     // kill it then
};

using Body = std::function<int(const json::Value& args, const FileTaskIo& io)>;
Outcome RunBody(const Workspace& ws, const Body& body, const std::string& args,
                const RunOptions& options = {});
Outcome Do(const Workspace& ws, const std::string& op, const std::string& args,
           const RunOptions& options = {});

// The text of a member of the result; "" when it is not there.
std::string TextOf(const Outcome& outcome, const char* member);
int64_t NumberOf(const Outcome& outcome, const char* member);

}  // namespace csb::agent
