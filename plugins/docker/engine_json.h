// SPDX-License-Identifier: Apache-2.0
//
// engine_json.h: the engine's JSON, read with suspicion and written.
// Every reader takes any JSON at all: what is missing or of another type reads as empty.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "plugins/docker/engine.h"

namespace csb::docker {

// Letters and digits, 1 to 64: what an engine calls a container.
bool IsId(std::string_view text);

void ReadVersion(const json::Value& doc, EngineInfo* info);  // GET /version
void ReadInfo(const json::Value& doc, EngineInfo* info);     // GET /info
ImageInfo ReadImage(const json::Value& doc);
ContainerInfo ReadContainer(const json::Value& doc);
std::vector<ListedContainer> ReadContainers(const json::Value& doc);
std::vector<ListedVolume> ReadVolumes(const json::Value& doc);
Usage ReadUsage(const json::Value& doc);
// GET /containers/ID/top with pid, uid and args: the first is the init.
std::vector<std::string> ReadRootCommands(const json::Value& doc);
Labels ReadLabels(const json::Value& object, const char* member);

// CSB_E_CONFLICT when a network of this name lets its containers talk to each other.
Status CheckBridge(const json::Value& doc, const std::string& name);

void WriteLabels(json::Writer& writer, const Labels& labels);
std::string VolumeBody(const std::string& name, const Labels& labels, uint64_t size);
std::string NetworkBody(const std::string& name, const Labels& labels);

// Lines of JSON that arrive in pieces, as /events and /images/create send them.
class JsonLines {
 public:
  static constexpr size_t kMaxLine = 1 << 20;
  explicit JsonLines(std::function<void(const json::Value&)> on_value) : on_value_(std::move(on_value)) {}
  // False once a line is longer than kMaxLine. Lines that are no JSON objects are passed over.
  bool Take(std::string_view piece);

 private:
  const std::function<void(const json::Value&)> on_value_;
  std::string line_;
};

// The stream of a pull: {"status","progressDetail","id"} lines, at the end perhaps {"error"}.
class PullReader {
 public:
  explicit PullReader(std::function<void(const std::string&)> progress);
  bool Take(std::string_view piece);
  const std::string& error() const { return error_; }
  bool overlong() const { return overlong_; }

 private:
  std::function<void(const std::string&)> progress_;
  JsonLines lines_;
  std::string error_, last_;
  bool overlong_ = false;
};

}  // namespace csb::docker
