// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/resources.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/base64.h"
#include "plugins/mcp/jsonrpc.h"

namespace csb::mcp {
namespace {

constexpr std::string_view kRoot = "/workspace";
constexpr int kMaxListings = 64;  // folders looked into for one page

std::string UriData(std::string_view uri) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "uri", uri.substr(0, 1024));
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string TextOf(const Error& error) {
  return utf8::Clean(error.hint.empty() ? error.message : error.message + "; " + error.hint);
}

std::string PathPayload(std::string_view path) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "path", path);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// ---- reading ----

class Reading final : public CallHandler {
 public:
  Reading(std::string uri, const Revision& revision, std::shared_ptr<Pending> pending)
      : uri_(std::move(uri)), revision_(revision), pending_(std::move(pending)) {}

  void OnEvent(Call& call, uint32_t event, std::string_view json) override {
    if (event != CSB_EVENT_META) return;
    auto meta = json::ParseObject(json);
    const int64_t size = meta ? json::GetInt(*meta, "size").value_or(0) : 0;
    if (size <= static_cast<int64_t>(kMaxResource)) return;
    pending_->Fail(kInvalidParams,
                   "the file has " + std::to_string(size) + " bytes, more than the " +
                       std::to_string(kMaxResource) +
                       " of a resource; read parts of it with read_file and offset",
                   UriData(uri_));
    call.Cancel(CSB_E_CANCELLED);
  }
  void OnOutput(Call& call, uint32_t stream, std::string_view data) override {
    if (stream == CSB_STREAM_DATA && data_.size() <= kMaxResource) data_.append(data);
    call.Credit(data.size());
  }
  void OnDone(Call&, const OutcomeView& outcome) override {
    if (!outcome.ok()) return Failed(outcome.error());
    const bool text = data_.find('\0') == std::string::npos && utf8::Valid(data_);
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Key(w, "contents");
    w.StartArray();
    w.StartObject();
    json::Member(w, "uri", std::string_view(uri_));
    json::Member(w, "mimeType", MediaType(uri_, text));
    json::Member(w, text ? "text" : "blob", std::string_view(text ? data_ : base64::Encode(data_)));
    w.EndObject();
    w.EndArray();
    w.EndObject();
    pending_->Result({buffer.GetString(), buffer.GetSize()});
  }
  void Failed(const Error& error) {
    if (error.code != CSB_E_NOT_FOUND && error.code != CSB_E_INVALID)
      return pending_->Fail(kInternalError, TextOf(error), UriData(uri_));
    pending_->Fail(revision_.stateless ? kInvalidParams : kResourceNotFound,
                   "Resource not found: " + TextOf(error), UriData(uri_));
  }

 private:
  const std::string uri_;
  const Revision& revision_;
  const std::shared_ptr<Pending> pending_;
  std::string data_;
};

// ---- listing ----

// Where a listing goes on: the files of `folder` whose names follow `after`, or its folders.
struct Position {
  std::string folder = std::string(kRoot);
  bool files = true;
  std::string after;

  std::string Cursor() const {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartArray();
    json::String(w, folder);
    w.Bool(files);
    json::String(w, after);
    w.EndArray();
    return base64::Encode({buffer.GetString(), buffer.GetSize()});
  }
  static std::optional<Position> FromCursor(std::string_view cursor) {
    if (cursor.empty() || cursor.size() > 16 << 10) return std::nullopt;
    auto text = base64::Decode(cursor);
    auto doc = text ? json::Parse(*text) : Result<json::Document>(Error{CSB_E_INVALID, "", "", false});
    if (!doc || !doc->IsArray() || doc->Size() != 3 || !(*doc)[0].IsString() || !(*doc)[1].IsBool() ||
        !(*doc)[2].IsString())
      return std::nullopt;
    Position at{std::string((*doc)[0].GetString(), (*doc)[0].GetStringLength()), (*doc)[1].GetBool(),
                std::string((*doc)[2].GetString(), (*doc)[2].GetStringLength())};
    const bool below = at.folder == kRoot || at.folder.starts_with(std::string(kRoot) + "/");
    if (!below || at.folder.find("/../") != std::string::npos || at.folder.ends_with("/.."))
      return std::nullopt;
    return at;
  }
  // Behind this folder: the next one beside it.
  bool Up() {
    if (folder == kRoot) return false;
    const size_t slash = folder.rfind('/');
    after = folder.substr(slash + 1);
    folder.resize(slash);
    files = false;
    return true;
  }
};

class Listing : public std::enable_shared_from_this<Listing> {
 public:
  Listing(ServiceClient service, std::string user, std::string request_id, Position at,
          std::shared_ptr<Pending> pending)
      : service_(service),
        user_(std::move(user)),
        request_id_(std::move(request_id)),
        at_(std::move(at)),
        pending_(std::move(pending)) {
    w_.StartObject();
    json::Key(w_, "resources");
    w_.StartArray();
  }

  void Next() {
    if (listings_++ == kMaxListings) return Finish(true);
    auto handler = std::make_shared<FunctionHandler>();
    handler->on_done = [self = shared_from_this()](Call&, const OutcomeView& outcome) {
      self->OnDone(outcome);
    };
    RequestView view;
    view.op = CSB_OP_FILE_LIST;
    view.user = user_;
    view.request_id = request_id_;
    const std::string payload = PathPayload(at_.folder);
    view.payload = payload;
    auto call = service_.Submit(view, handler);
    if (!call) return Failed(call.error());
  }

 private:
  struct Entry {
    std::string name;
    int64_t size;
  };

  void OnDone(const OutcomeView& outcome) {
    if (!outcome.ok()) return Failed(outcome.error());
    auto doc = json::ParseObject(outcome.result);
    const json::Value* entries = doc ? json::Find(*doc, "entries") : nullptr;
    if (entries == nullptr || !entries->IsArray())
      return pending_->Fail(kInternalError, "the backend's answer to a listing is wrong");
    std::vector<Entry> files;
    std::vector<std::string> folders;
    for (const auto& entry : entries->GetArray()) {
      const auto name = json::GetString(entry, "name");
      const auto type = json::GetString(entry, "type");
      if (!name || name->empty() || json::Find(entry, "name_escaped") != nullptr) continue;
      if (type == "file") files.push_back({std::string(*name), json::GetInt(entry, "size").value_or(0)});
      // What begins with a dot is caches and packages, thousands of files that nobody asked for.
      if (type == "dir" && name->front() != '.') folders.emplace_back(*name);
    }
    std::sort(files.begin(), files.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    std::sort(folders.begin(), folders.end());
    Take(files, folders);
  }

  void Take(const std::vector<Entry>& files, const std::vector<std::string>& folders) {
    if (at_.files) {
      for (const Entry& file : files) {
        if (file.name <= at_.after) continue;
        if (written_ == kResourcePage) return Finish(true);
        Write(file);
        at_.after = file.name;
      }
      at_.files = false;
      at_.after.clear();
    }
    const auto next = std::upper_bound(folders.begin(), folders.end(), at_.after);
    if (next != folders.end()) {
      at_ = {at_.folder + "/" + *next, true, ""};
    } else if (!at_.Up()) {
      return Finish(false);
    }
    if (written_ == kResourcePage) return Finish(true);
    Next();
  }

  void Write(const Entry& file) {
    const std::string path = at_.folder + "/" + file.name;
    w_.StartObject();
    json::Member(w_, "uri", std::string_view(ResourceUri("", path)));
    json::Member(w_, "name", std::string_view(path).substr(kRoot.size() + 1));
    json::Member(w_, "mimeType", MediaType(path, true));
    json::Member(w_, "size", file.size);
    w_.EndObject();
    ++written_;
  }

  void Failed(const Error& error) {
    const bool gone = error.code == CSB_E_NOT_FOUND || error.code == CSB_E_INVALID;
    if (gone && at_.Up()) return Next();  // the folder went while its pages were read
    pending_->Fail(kInternalError, TextOf(error));
  }

  void Finish(bool more) {
    w_.EndArray();
    if (more) json::Member(w_, "nextCursor", std::string_view(at_.Cursor()));
    w_.EndObject();
    pending_->Result({buffer_.GetString(), buffer_.GetSize()});
  }

  const ServiceClient service_;
  const std::string user_, request_id_;
  Position at_;
  const std::shared_ptr<Pending> pending_;
  json::Buffer buffer_;
  json::Writer w_{buffer_};
  size_t written_ = 0;
  int listings_ = 0;
};

bool Refused(const ProviderRequest& request, const std::string& user, const ToolOptions& options,
             Pending& pending) {
  Status allowed;
  if (options.only && user != options.user)
    allowed = Error{CSB_E_FORBIDDEN, "this server serves " + options.user + " only", "", false};
  else if (request.access)
    allowed = request.access(user);
  if (allowed) return false;
  pending.Fail(kInvalidParams, TextOf(allowed.error()));
  return true;
}

}  // namespace

void ListResources(const ServiceClient& service, const ToolOptions& options, std::string request_id,
                   const ProviderRequest& request, std::shared_ptr<Pending> pending) {
  Position at;
  const json::Value* cursor = request.params == nullptr ? nullptr : json::Find(*request.params, "cursor");
  if (cursor != nullptr) {
    auto found = cursor->IsString() ? Position::FromCursor({cursor->GetString(), cursor->GetStringLength()})
                                    : std::nullopt;
    if (!found) return pending->Fail(kInvalidParams, "cursor: not one that this server gave");
    at = *std::move(found);
  }
  if (Refused(request, options.user, options, *pending)) return;
  std::make_shared<Listing>(service, options.user, std::move(request_id), std::move(at), std::move(pending))
      ->Next();
}

std::optional<ResourceName> FindResource(const ToolOptions& options, const ProviderRequest& request,
                                         std::string_view uri, Pending& pending) {
  auto name = ParseResourceUri(uri);
  if (!name) {
    pending.Fail(request.revision.stateless ? kInvalidParams : kResourceNotFound,
                 "Resource not found; a file's URI is sandbox:///workspace/NAME", UriData(uri));
    return std::nullopt;
  }
  if (name->user.empty()) name->user = options.user;
  if (Refused(request, name->user, options, pending)) return std::nullopt;
  return name;
}

void ReadResource(const ServiceClient& service, const ToolOptions& options, std::string request_id,
                  const ProviderRequest& request, std::shared_ptr<Pending> pending) {
  const auto uri = request.params == nullptr ? std::nullopt : json::GetString(*request.params, "uri");
  if (!uri) return pending->Fail(kInvalidParams, "uri: a string is expected");
  const auto name = FindResource(options, request, *uri, *pending);
  if (!name) return;
  auto reading = std::make_shared<Reading>(std::string(*uri), request.revision, pending);
  const std::string payload = PathPayload(name->path);
  RequestView view;
  view.op = CSB_OP_FILE_READ;
  view.user = name->user;
  view.request_id = request_id;
  view.payload = payload;
  view.output_credit = kDefaultCredit;
  auto call = service.Submit(view, reading);
  if (!call) return reading->Failed(call.error());
  pending->OnCancel([call = *std::move(call)] { call->Cancel(CSB_E_CANCELLED); });
}

}  // namespace csb::mcp
