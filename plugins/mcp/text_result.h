// SPDX-License-Identifier: Apache-2.0
//
// text_result.h: results of tools/call whose content is one text, with structured content beside it
// where the revision has that.
//
//   TextResult("hi\n", false);
//   TextResult(text, failed, revision, [&](json::Writer& w) { json::Member(w, "exit_code", 3); });
#pragma once

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {

inline void WriteText(json::Writer& w, std::string_view text) {
  w.StartObject();
  json::Member(w, "type", "text");
  json::Member(w, "text", text);
  w.EndObject();
}

// `members` writes those of structuredContent; `more` what stands in content behind the text.
template <typename Members, typename More>
std::string TextResult(std::string_view text, bool is_error, bool structured, Members members, More more) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "content");
  w.StartArray();
  WriteText(w, text);
  more(w);
  w.EndArray();
  if (structured) {
    json::Key(w, "structuredContent");
    w.StartObject();
    members(w);
    w.EndObject();
  }
  json::Member(w, "isError", is_error);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}
template <typename Members>
std::string TextResult(std::string_view text, bool is_error, const Revision& revision, Members members) {
  return TextResult(text, is_error, revision.structured_content, members, [](json::Writer&) {});
}
inline std::string TextResult(std::string_view text, bool is_error) {
  const auto nothing = [](json::Writer&) {};
  return TextResult(text, is_error, false, nothing, nothing);
}

inline void AppendLine(std::string& text, std::string_view line) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  text.append(line);
}

}  // namespace csb::mcp
