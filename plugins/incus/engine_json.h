// SPDX-License-Identifier: Apache-2.0
//
// engine_json.h: the engine's JSON, read with suspicion and written.
// Every reader takes any JSON at all: what is missing or of another type reads as empty.
//
//   auto answer = json::ParseObject(body);
//   for (const InstanceInfo& i : ReadInstances(Metadata(*answer))) …
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "plugins/incus/engine.h"

namespace csb::incus {

// Lower-case hex digits, 8-4-4-4-12: what an operation is called. Nothing else gets into a path.
bool IsUuid(std::string_view text);
// Letters, digits, '.', '_', '-'; at most 128, no "." or ".." : one file's name.
bool IsFileName(std::string_view text);

// What is common to all answers.
struct AnswerHead {
  std::string type;  // "sync", "async", "error"; "" : no Incus answers so
  int code = 0;      // error_code
  std::string error;
};
AnswerHead ReadHead(const json::Value& doc);
const json::Value& Metadata(const json::Value& doc);  // null when there is none

// Of a 202, of /wait and of an event.
struct OperationInfo {
  std::string id;  // "" when it is none
  int status = 0;  // 103 running, 200 success, 400 failure, 401 cancelled
  std::string error;
  std::string location;
  // Of one that ran a command.
  std::optional<int> exit_code;
  std::string out, err;  // names of files among the instance's exec-output; "" when there is none

  bool ended() const { return status >= 200; }
  bool failed() const { return status >= 400 || !error.empty(); }
};
OperationInfo ReadOperation(const json::Value& metadata);

// Of an event of type "lifecycle" about an instance; name "": about something else.
struct LifecycleInfo {
  std::string action, name;  // "instance-stopped", "m1"
};
LifecycleInfo ReadLifecycle(const json::Value& metadata);

ServerInfo ReadServer(const json::Value& metadata);
InstanceInfo ReadInstance(const json::Value& metadata);
std::vector<InstanceInfo> ReadInstances(const json::Value& metadata);
InstanceState ReadState(const json::Value& metadata);
ProfileInfo ReadProfile(const json::Value& metadata);
std::vector<ProfileInfo> ReadProfiles(const json::Value& metadata, std::string_view prefix);
VolumeInfo ReadVolume(const json::Value& metadata);
std::vector<VolumeInfo> ReadVolumes(const json::Value& metadata, std::string_view prefix);
PoolInfo ReadPool(const json::Value& metadata);
std::vector<PoolInfo> ReadPools(const json::Value& metadata);
void ReadSpace(const json::Value& metadata, PoolInfo* pool);
NetworkInfo ReadNetwork(const json::Value& metadata);
MemberInfo ReadMember(const json::Value& metadata);
std::vector<MemberInfo> ReadMembers(const json::Value& metadata);
MemberLoad ReadLoad(const json::Value& metadata);

// Those that the name stands for: an alias, a whole fingerprint, or 12 digits of it at least.
std::vector<ImageInfo> FindImages(const json::Value& metadata, std::string_view name);
// The message of the last warning of that kind; "" where there is none.
std::string FindWarning(const json::Value& metadata, std::string_view type);
// Of those fetched from another server.
std::vector<ImageInfo> FindCached(const json::Value& metadata, std::string_view server,
                                  std::string_view alias);

// Values that are no strings are left out.
Config ReadConfig(const json::Value& object, const char* member);
Devices ReadDevices(const json::Value& object, const char* member);

std::string CopyBody(const std::string& pool, const std::string& name, const std::string& description,
                     const Config& config, const std::string& from);
std::string ProfileBody(const std::string& name, const std::string& description, const Config& config);
std::string VolumeBody(const std::string& name, const std::string& description, const Config& config);
std::string NetworkBody(const std::string& name, const Config& config);
std::string ConfigBody(const Config& config);
std::string RootBody(const std::string& pool, uint64_t size);
std::string StateBody(const std::string& action, bool force, int seconds);
std::string ExecBody(const std::vector<std::string>& argv);

}  // namespace csb::incus
