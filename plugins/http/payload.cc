// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/payload.h"

#include <charconv>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"

namespace csb::http {
namespace {

// A parsed value takes many times the memory of its text, and parsing many keeps other connections
// waiting. No request of ours has a hundredth of this.
constexpr size_t kMaxValues = 1'000'000;

// Commas and colons outside strings: each value but the first follows one.
bool HasMoreValues(std::string_view body, size_t limit) {
  size_t values = 1;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (c == '"') {
      for (++i; i < body.size() && body[i] != '"'; ++i) i += body[i] == '\\';
    } else if (c == ',' || c == ':') {
      if (++values > limit) return true;
    }
  }
  return false;
}

Error Invalid(std::string_view field, std::string_view why) {
  return {CSB_E_INVALID, std::string(field) + ": " + std::string(why), "", false};
}

// The table's schemas start with the type; that is all a query's text needs.
bool HasType(const Field& field, std::string_view type) {
  return std::string_view(field.schema).find("\"type\":\"" + std::string(type) + "\"") !=
         std::string_view::npos;
}

Status WriteQueryField(json::Writer& w, const Field& field, std::string_view text) {
  if (HasType(field, "boolean")) {
    // Python's `True` too: clients print a query's values as their language does.
    std::string word(text);
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (word == "true" || word == "1") return json::Member(w, field.name, true), Status();
    if (word == "false" || word == "0") return json::Member(w, field.name, false), Status();
    return Invalid(field.name, "must be true or false");
  }
  if (HasType(field, "integer")) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size())
      return Invalid(field.name, "must be a whole number");
    return json::Member(w, field.name, number), Status();
  }
  if (!utf8::Valid(text)) return Invalid(field.name, "is not valid UTF-8");
  return json::Member(w, field.name, text), Status();
}

// JSON has no NaN, Infinity or 1e999, but clients write them: the field whose value is one, or null.
const Field* NotFinite(const Route& route, std::string_view body) {
  rapidjson::Document doc;
  doc.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(body.data(), body.size());
  if (!doc.HasParseError()) return nullptr;
  std::string_view before = body.substr(0, doc.GetErrorOffset()), at = body.substr(before.size());
  if (doc.GetParseError() != rapidjson::kParseErrorNumberTooBig && at.substr(0, 3) != "NaN" &&
      at.substr(0, 3) != "Inf")
    return nullptr;
  const auto ends_with = [&](std::string_view end) {
    before = before.substr(0, before.find_last_not_of(" \t\r\n") + 1);
    if (before.size() < end.size() || before.substr(before.size() - end.size()) != end) return false;
    before.remove_suffix(end.size());
    return true;
  };
  ends_with("-");
  if (!ends_with(":")) return nullptr;
  for (const Field& field : route.fields)
    if (field.in == In::kBody && ends_with('"' + std::string(field.name) + '"')) return &field;
  return nullptr;
}

// The member, or null; an error where it stands in the object twice, since readers take either.
Result<const json::Value*> Member(const json::Value& object, std::string_view name) {
  const json::Value* found = nullptr;
  for (const auto& member : object.GetObject()) {
    if (std::string_view(member.name.GetString(), member.name.GetStringLength()) != name) continue;
    if (found != nullptr) return Invalid(name, "is given twice");
    found = &member.value;
  }
  return found == nullptr || found->IsNull() ? nullptr : found;
}

// Whether the bytes stand as base64; absent is text.
Result<bool> IsBase64(std::string_view field, std::optional<std::string_view> name) {
  if (!name || name == "utf-8" || name == "utf8") return false;
  if (name == "base64") return true;
  return Invalid(field, "must be `utf-8` or `base64`");
}
Result<bool> IsBase64(std::string_view field, const json::Value* value) {
  if (value == nullptr) return false;
  return IsBase64(field, value->IsString() ? std::string_view(value->GetString(), value->GetStringLength())
                                           : std::string_view());
}

Result<std::string> Content(const json::Value& body) {
  const auto content = json::GetString(body, "content");
  if (!content)
    return Invalid("content", json::Find(body, "content") == nullptr ? "is missing" : "must be a string");
  const auto base64 = IsBase64("encoding", json::Find(body, "encoding"));
  if (!base64) return base64.error();
  if (!*base64) return std::string(*content);
  auto bytes = base64::Decode(*content);
  if (!bytes) return Invalid("content", bytes.error().message);
  return bytes;
}

Status WriteOutputBound(json::Writer& w, const json::Value* asked, uint64_t most,
                        std::optional<OutputBound>& bound) {
  OutputBound chosen{most / 2, most - most / 2};
  if (asked != nullptr) {
    if (!asked->IsObject()) return Invalid("output", "must be an object");
    const auto read = [&](const char* name, uint64_t& out) {
      const json::Value* value = json::Find(*asked, name);
      if (value != nullptr && !value->IsUint64()) return false;
      out = value == nullptr ? 0 : value->GetUint64();
      return true;
    };
    if (!read("head", chosen.head) || !read("tail", chosen.tail))
      return Invalid("output", "head and tail must be whole numbers that are not negative");
    if (chosen.head > most || chosen.tail > most - chosen.head)
      return Invalid("output",
                     "head and tail may be " + std::to_string(most) + " bytes together; stream for more");
  }
  bound = chosen;
  json::Key(w, "output");
  w.StartObject();
  json::Member(w, "head", chosen.head);
  json::Member(w, "tail", chosen.tail);
  w.EndObject();
  return {};
}

}  // namespace

Result<Payload> BuildPayload(const Route& route, const Target& target, std::string_view body,
                             const PayloadOptions& options) {
  if (HasMoreValues(body, kMaxValues))
    return Error{CSB_E_TOO_LARGE,
                 "the request body has more than " + std::to_string(kMaxValues) + " JSON values", "", false};
  auto doc = json::ParseObject(body);
  if (!doc) {
    if (!json::DeeperThan(body, json::kMaxDepth))
      if (const Field* field = NotFinite(route, body)) return Invalid(field->name, "must be a finite number");
    return Error{CSB_E_BAD_REQUEST, "request body: " + doc.error().message, "", false};
  }
  Payload payload;
  const bool run = route.answer == Answer::kExecution;
  bool base64_input = false;
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const Field& field : route.fields) {
    const std::string_view name = field.name;
    if (field.in == In::kPath) {
      const std::string_view text = PathParameter(route, target.segments, name);
      if (!utf8::Valid(text)) return Invalid(name, "is not valid UTF-8");
      json::Member(w, name, text);
      continue;
    }
    if (field.in == In::kQuery) {
      const auto text = target.Get(name);
      if (target.Repeated(name)) return Invalid(name, "is given twice");
      if (run && name == "encoding") {
        const auto base64 = IsBase64(name, text);
        if (!base64) return base64.error();
        payload.base64 = *base64;
      } else if (text) {
        if (auto status = WriteQueryField(w, field, *text); !status) return std::move(status).error();
      }
      continue;
    }
    const auto member = Member(*doc, name);
    if (!member) return member.error();
    const json::Value* const value = *member;
    if (name == "output" && options.max_output > 0) {
      if (auto status = WriteOutputBound(w, value, options.max_output, payload.bound); !status)
        return std::move(status).error();
      continue;
    }
    if (options.content_is_input && (name == "content" || name == "encoding")) continue;
    if (run && (name == "encoding" || name == "stdin_encoding")) {
      const auto base64 = IsBase64(name, value);
      if (!base64) return base64.error();
      (name == "encoding" ? payload.base64 : base64_input) = *base64;
      continue;
    }
    if (value == nullptr) continue;
    if (name == "stdin") {
      if (!value->IsString()) return Invalid(name, "must be a string");
      payload.input.emplace(value->GetString(), value->GetStringLength());
      continue;
    }
    json::Key(w, name);
    value->Accept(w);
  }
  // Operations that produce output but whose table has no `output` field are bounded as well.
  if (options.max_output > 0 && !payload.bound)
    if (auto status = WriteOutputBound(w, nullptr, options.max_output, payload.bound); !status)
      return std::move(status).error();
  w.EndObject();
  if (base64_input && payload.input) {
    auto bytes = base64::Decode(*payload.input);
    if (!bytes) return Invalid("stdin", bytes.error().message);
    payload.input = *std::move(bytes);
  }
  if (options.content_is_input) {
    auto content = Content(*doc);
    if (!content) return std::move(content).error();
    payload.input = *std::move(content);
  }
  payload.json.assign(buffer.GetString(), buffer.GetSize());
  return payload;
}

}  // namespace csb::http
