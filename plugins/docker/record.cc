// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/record.h"

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/small_file.h"

namespace csb::docker {

Result<Record> ReadRecord(const std::string& path) {
  auto text = ReadSmallFile(path);
  if (!text) return text.error();
  // What a power cut leaves of a file that was never synced.
  if (text->empty()) return Error{CSB_E_NOT_FOUND, path + ": empty", "", false};
  auto doc = json::ParseObject(*text);
  if (!doc) return Error{CSB_E_INTERNAL, path + ": " + doc.error().message, "remove the file", false};
  const auto member = [&](const char* name) { return std::string(json::GetString(*doc, name).value_or("")); };
  Record record{member("user"),
                member("volume"),
                member("folder"),
                member("container"),
                member("created_at"),
                member("image"),
                {}};
  if (!CheckUserId(record.user))
    return Error{CSB_E_INTERNAL, path + ": names no user", "remove the file", false};
  if (const json::Value* limits = json::Find(*doc, "limits")) record.limits = ReadLimits(*limits);
  return record;
}

Status WriteRecord(const std::string& path, const Record& record, bool durable) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "user", record.user);
  json::Member(w, "volume", record.volume);
  json::Member(w, "folder", record.folder);
  json::Member(w, "container", record.container);
  json::Member(w, "created_at", record.created_at);
  json::Member(w, "image", record.image);
  json::Key(w, "limits");
  WriteLimits(w, record.limits);
  w.EndObject();
  return ReplaceSmallFile(path, {buffer.GetString(), buffer.GetSize()}, durable);
}

}  // namespace csb::docker
