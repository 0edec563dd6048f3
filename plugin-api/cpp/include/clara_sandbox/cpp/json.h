// SPDX-License-Identifier: Apache-2.0
//
// json.h: RapidJSON, used the one safe way. Parsing is iterative (the recursive parser
// overflows the stack at 100,000 levels), checks UTF-8, and bounds depth and size.
#pragma once

#define RAPIDJSON_HAS_STDSTRING 1
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::json {

using Document = rapidjson::Document;
using Value = rapidjson::Value;
using Buffer = rapidjson::StringBuffer;
using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

inline constexpr size_t kMaxDepth = 64;

// Deepest nesting of brackets in `text`, strings skipped; stops counting past `limit`.
// Checked before parsing, so that a document that is too deep is never built.
inline bool DeeperThan(std::string_view text, size_t limit) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return true;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return false;
}

// Any JSON value. Errors are CSB_E_BAD_REQUEST and name the byte offset.
inline Result<Document> Parse(std::string_view text, size_t max_depth = kMaxDepth) {
  if (DeeperThan(text, max_depth))
    return Error{CSB_E_BAD_REQUEST, "JSON is nested deeper than " + std::to_string(max_depth) + " levels", "",
                 false};
  // RapidJSON takes it for the end of the text, whatever follows; in JSON it is allowed nowhere (RFC 8259).
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    return Error{CSB_E_BAD_REQUEST, "not valid JSON at byte " + std::to_string(nul) + ": a NUL", "", false};
  Document doc;
  doc.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(), text.size());
  if (doc.HasParseError())
    return Error{CSB_E_BAD_REQUEST,
                 std::string("not valid JSON at byte ") + std::to_string(doc.GetErrorOffset()) + ": " +
                     rapidjson::GetParseError_En(doc.GetParseError()),
                 "", false};
  return doc;
}

// As Parse, but the root must be an object; empty text is {}.
inline Result<Document> ParseObject(std::string_view text, size_t max_depth = kMaxDepth) {
  if (text.empty()) text = "{}";
  auto doc = Parse(text, max_depth);
  if (doc && !doc->IsObject()) return Error{CSB_E_BAD_REQUEST, "JSON: an object is expected", "", false};
  return doc;
}

// The member, or null when it is absent or JSON null.
inline const Value* Find(const Value& object, std::string_view name) {
  if (!object.IsObject()) return nullptr;
  auto it = object.FindMember(Value(rapidjson::StringRef(name.data(), name.size())));
  if (it == object.MemberEnd() || it->value.IsNull()) return nullptr;
  return &it->value;
}
inline std::optional<std::string_view> GetString(const Value& object, std::string_view name) {
  const Value* v = Find(object, name);
  if (v == nullptr || !v->IsString()) return std::nullopt;
  return std::string_view(v->GetString(), v->GetStringLength());
}
inline std::optional<int64_t> GetInt(const Value& object, std::string_view name) {
  const Value* v = Find(object, name);
  if (v == nullptr || !v->IsInt64()) return std::nullopt;
  return v->GetInt64();
}
inline std::optional<double> GetNumber(const Value& object, std::string_view name) {
  const Value* v = Find(object, name);
  if (v == nullptr || !v->IsNumber()) return std::nullopt;
  return v->GetDouble();
}
inline std::optional<bool> GetBool(const Value& object, std::string_view name) {
  const Value* v = Find(object, name);
  if (v == nullptr || !v->IsBool()) return std::nullopt;
  return v->GetBool();
}

inline std::string ToString(const Value& value) {
  Buffer buffer;
  Writer writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

inline void Key(Writer& w, std::string_view s) {
  w.Key(s.data(), static_cast<rapidjson::SizeType>(s.size()));
}
inline void String(Writer& w, std::string_view s) {
  w.String(s.data(), static_cast<rapidjson::SizeType>(s.size()));
}
inline void Member(Writer& w, std::string_view key, std::string_view value) {
  Key(w, key);
  String(w, value);
}
inline void Member(Writer& w, std::string_view key, const char* value) {
  Key(w, key);
  String(w, value);
}
inline void Member(Writer& w, std::string_view key, bool value) {
  Key(w, key);
  w.Bool(value);
}
inline void Member(Writer& w, std::string_view key, int64_t value) {
  Key(w, key);
  w.Int64(value);
}
inline void Member(Writer& w, std::string_view key, uint64_t value) {
  Key(w, key);
  w.Uint64(value);
}
inline void Member(Writer& w, std::string_view key, int value) {
  Key(w, key);
  w.Int(value);
}
inline void Member(Writer& w, std::string_view key, unsigned value) {
  Key(w, key);
  w.Uint(value);
}
inline void Member(Writer& w, std::string_view key, double value) {
  Key(w, key);
  w.Double(value);
}

}  // namespace csb::json
