// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/output_events.h"

#include <algorithm>

#include "plugins/common/base64.h"
#include "plugins/common/lifecycle_operation.h"

namespace csb::remote {

std::string DroppedEvent(uint32_t stream, uint64_t bytes) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "stream", stream);
  json::Member(w, "bytes", bytes);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Passed PassOutput(const json::Document& event, Outbox& out) {
  const std::string_view name = json::GetString(event, "event").value_or("");
  if (name == "stdout" || name == "stderr") {
    const std::string_view data = json::GetString(event, "data").value_or("");
    const uint32_t stream = name == "stderr" ? CSB_STREAM_STDERR : CSB_STREAM_STDOUT;
    if (json::GetString(event, "encoding") != "base64") {
      out.Bytes(stream, std::string(data));
      return Passed::kYes;
    }
    auto bytes = base64::Decode(data);
    if (!bytes) return Passed::kUnreadable;
    out.Bytes(stream, *std::move(bytes));
    return Passed::kYes;
  }
  if (name == "dropped") {
    const bool error = json::GetString(event, "stream") == "stderr";
    const auto bytes = json::GetInt(event, "bytes").value_or(0);
    out.Event(CSB_EVENT_DROPPED, DroppedEvent(error ? CSB_STREAM_STDERR : CSB_STREAM_STDOUT,
                                              static_cast<uint64_t>(std::max<int64_t>(bytes, 0))));
    return Passed::kYes;
  }
  if (name != "progress") return Passed::kOther;
  out.Event(CSB_EVENT_PROGRESS, ProgressEvent(std::string(json::GetString(event, "message").value_or(""))));
  return Passed::kYes;
}

}  // namespace csb::remote
