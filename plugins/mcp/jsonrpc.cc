// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/jsonrpc.h"

#include <utility>

namespace csb::mcp {
namespace {

constexpr size_t kMaxId = 1024;

Message Invalid(std::string id, int code, std::string error) {
  Message m;
  m.id = std::move(id);
  m.code = code;
  m.error = std::move(error);
  return m;
}

Message ParseMessage(const json::Value& value) {
  if (!value.IsObject()) return Invalid("", kInvalidRequest, "a message must be a JSON object");
  const auto id_member = value.FindMember("id");
  const bool has_id = id_member != value.MemberEnd();
  std::string id = has_id ? IdText(&id_member->value) : std::string();
  if (json::GetString(value, "jsonrpc") != "2.0")
    return Invalid(std::move(id), kInvalidRequest, R"(jsonrpc: must be "2.0")");
  const json::Value* method = json::Find(value, "method");
  if (method == nullptr && (value.HasMember("result") || value.HasMember("error"))) {
    Message m;
    m.kind = Message::Kind::kResponse;
    m.id = std::move(id);
    m.whole = &value;
    return m;
  }
  if (has_id && id.empty())
    return Invalid("", kInvalidRequest,
                   "id: must be a string of at most 1024 bytes or an integer, never null");
  if (method == nullptr || !method->IsString())
    return Invalid(std::move(id), kInvalidRequest, "method: a string is expected");
  const json::Value* params = json::Find(value, "params");
  if (params != nullptr && !params->IsObject())
    return Invalid(std::move(id), kInvalidParams, "params: an object is expected");
  Message m;
  m.kind = has_id ? Message::Kind::kRequest : Message::Kind::kNotification;
  m.id = std::move(id);
  m.method.assign(method->GetString(), method->GetStringLength());
  m.params = params;
  return m;
}

}  // namespace

std::string IdText(const json::Value* value) {
  if (value == nullptr) return {};
  if (value->IsString() && value->GetStringLength() <= kMaxId) return json::ToString(*value);
  if (value->IsInt64() || value->IsUint64()) return json::ToString(*value);
  return {};
}

Incoming ParseText(std::string_view text) {
  Incoming in;
  auto parsed = json::Parse(text);
  if (!parsed) {
    in.messages.push_back(Invalid("", kParseError, parsed.error().message));
    return in;
  }
  in.document = *std::move(parsed);
  if (!in.document.IsArray()) {
    in.messages.push_back(ParseMessage(in.document));
    return in;
  }
  if (in.document.Empty() || in.document.Size() > kMaxBatch) {  // answered with one error, not an array
    in.messages.push_back(Invalid("", kInvalidRequest, "a batch must have 1 to 100 messages"));
    return in;
  }
  in.batch = true;
  for (const auto& item : in.document.GetArray()) in.messages.push_back(ParseMessage(item));
  return in;
}

std::string ResultLine(std::string_view id, std::string_view result_json) {
  std::string line = R"({"jsonrpc":"2.0","id":)";
  line.reserve(line.size() + id.size() + result_json.size() + 16);
  return line.append(id).append(R"(,"result":)").append(result_json).append("}");
}

std::string ErrorLine(std::string_view id, int code, std::string_view message, std::string_view data_json) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", code);
  json::Member(w, "message", message);
  if (!data_json.empty()) {
    json::Key(w, "data");
    w.RawValue(data_json.data(), data_json.size(), rapidjson::kObjectType);
  }
  w.EndObject();
  std::string line = R"({"jsonrpc":"2.0")";
  if (!id.empty()) line.append(R"(,"id":)").append(id);
  return line.append(R"(,"error":)").append(buffer.GetString(), buffer.GetSize()).append("}");
}

std::string NotificationLine(std::string_view method, std::string_view params_json) {
  std::string line = R"({"jsonrpc":"2.0","method":")";
  return line.append(method).append(R"(","params":)").append(params_json).append("}");
}

}  // namespace csb::mcp
