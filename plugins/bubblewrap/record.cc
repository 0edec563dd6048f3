// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/record.h"

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

void WriteProcess(json::Writer& w, const char* key, const ProcessId& id) {
  if (id.pid == 0) return;
  json::Key(w, key);
  w.StartObject();
  json::Member(w, "pid", int{id.pid});
  json::Member(w, "start", id.start);
  json::Member(w, "boot", id.boot);
  w.EndObject();
}

ProcessId ReadProcess(const json::Value& object, const char* key) {
  const json::Value* v = json::Find(object, key);
  if (v == nullptr) return {};
  ProcessId id;
  id.pid = static_cast<pid_t>(json::GetInt(*v, "pid").value_or(0));
  id.start = static_cast<uint64_t>(json::GetInt(*v, "start").value_or(0));
  id.boot = std::string(json::GetString(*v, "boot").value_or(""));
  return id;
}

void WriteUids(json::Writer& w, const UidPair& uids) {
  json::Member(w, "agent_uid", unsigned{uids.agent});
  json::Member(w, "user_uid", unsigned{uids.user});
}

UidPair ReadUids(const json::Value& object) {
  return {static_cast<uid_t>(json::GetInt(object, "agent_uid").value_or(0)),
          static_cast<uid_t>(json::GetInt(object, "user_uid").value_or(0))};
}

// The document and the checked user id.
Result<json::Document> ReadRecord(const std::string& path, std::string* user) {
  auto text = ReadSmallFile(path);
  if (!text) return text.error();
  // What a power cut leaves of a file that was never synced: the sandbox's create was not answered long ago.
  if (text->empty()) return Error{CSB_E_NOT_FOUND, path + ": empty", "", false};
  auto doc = json::ParseObject(*text);
  if (!doc) return Error{CSB_E_INTERNAL, path + ": " + doc.error().message, "remove the file", false};
  *user = std::string(json::GetString(*doc, "user").value_or(""));
  if (!CheckUserId(*user)) return Error{CSB_E_INTERNAL, path + ": names no user", "remove the file", false};
  return doc;
}

}  // namespace

Result<UserRecord> ReadUserRecord(const std::string& path) {
  UserRecord record;
  auto doc = ReadRecord(path, &record.user);
  if (!doc) return doc.error();
  record.uids = ReadUids(*doc);
  record.created_at = std::string(json::GetString(*doc, "created_at").value_or(""));
  record.image = static_cast<uint64_t>(json::GetInt(*doc, "image").value_or(0));
  return record;
}

Status WriteUserRecord(const std::string& path, const UserRecord& record) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "user", record.user);
  WriteUids(w, record.uids);
  json::Member(w, "created_at", record.created_at);
  json::Member(w, "image", record.image);
  w.EndObject();
  return ReplaceSmallFile(path, {buffer.GetString(), buffer.GetSize()});
}

Result<LiveRecord> ReadLiveRecord(const std::string& path) {
  LiveRecord record;
  auto doc = ReadRecord(path, &record.user);
  if (!doc) return doc.error();
  record.uids = ReadUids(*doc);
  record.created_at = std::string(json::GetString(*doc, "created_at").value_or(""));
  record.image = static_cast<uint64_t>(json::GetInt(*doc, "image").value_or(0));
  if (const json::Value* limits = json::Find(*doc, "limits")) {
    auto read = ReadLimits(*limits);
    if (!read) return read.error();
    record.limits = *read;
  }
  if (const json::Value* cgroup = json::Find(*doc, "cgroup")) record.cgroup = Cgroup::From(*cgroup);
  record.monitor = ReadProcess(*doc, "monitor");
  record.init = ReadProcess(*doc, "init");
  record.pasta = ReadProcess(*doc, "pasta");
  return record;
}

Status WriteLiveRecord(const std::string& path, const LiveRecord& record) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "user", record.user);
  WriteUids(w, record.uids);
  json::Member(w, "created_at", record.created_at);
  json::Member(w, "image", record.image);
  json::Key(w, "limits");
  WriteLimits(w, record.limits);
  json::Key(w, "cgroup");
  record.cgroup.Write(w);
  WriteProcess(w, "monitor", record.monitor);
  WriteProcess(w, "init", record.init);
  WriteProcess(w, "pasta", record.pasta);
  w.EndObject();
  // Never synced: after a power cut there is no sandbox that it could speak of. The second one of a launch
  // only adds pids.
  const std::string_view text(buffer.GetString(), buffer.GetSize());
  return record.init.pid != 0 && Exists(path) ? OverwriteSmallFile(path, text) : ReplaceSmallFile(path, text);
}

}  // namespace csb::bwrap
