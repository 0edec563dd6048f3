// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine.h"

#include <algorithm>
#include <charconv>

#include "plugins/common/printable.h"
#include "plugins/docker/engine_error.h"
#include "plugins/docker/engine_json.h"

namespace csb::docker {
namespace {

using std::chrono::milliseconds;

// What we were written for, and what an engine must speak at least (stats with one-shot: 1.41).
constexpr int kLeastMinor = 41;

// "1.41" → 41; -1: another major version or no version.
int Minor(std::string_view version) {
  if (version.substr(0, 2) != "1.") return -1;
  version.remove_prefix(2);
  int minor = -1;
  std::from_chars(version.data(), version.data() + version.size(), minor);
  return minor;
}

}  // namespace

std::string LabelFilter(const std::string& label) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "label");
  w.StartArray();
  json::String(w, label);
  w.EndArray();
  w.EndObject();
  return UrlEscape({buffer.GetString(), buffer.GetSize()});
}

std::string Engine::prefix() {
  const std::lock_guard lock(mutex_);
  return "/v" + (info_.api.empty() ? "1." + std::to_string(kLeastMinor) : info_.api);
}

Result<HttpResponse> Engine::Ask(const char* method, const std::string& path, const std::string& what,
                                 Limit limit, std::string body, const char* type) {
  HttpRequest request;
  request.method = method;
  request.target = prefix() + path;
  if (!body.empty()) request.headers = {std::string("Content-Type: ") + type};
  request.body = std::move(body);
  request.timeout = limit;
  auto answer = client_->Call(std::move(request));
  if (!answer) return TransportError(client_->endpoint(), answer.error());
  if (answer->status < 200 || answer->status > 399) return EngineError(what, *answer);
  return answer;
}

Result<json::Document> Engine::AskJson(const std::string& path, const std::string& what, Limit limit) {
  auto answer = Ask("GET", path, what, limit);
  if (!answer) return answer.error();
  auto doc = json::Parse(answer->body);
  if (!doc)
    return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": the engine's answer is no JSON",
                 "check docker.host: is this a Docker Engine?", true};
  return doc;
}

Result<EngineInfo> Engine::Info(Limit limit, Limit max_age) {
  {
    const std::lock_guard lock(mutex_);
    if (known_ && (max_age == Limit::max() || std::chrono::steady_clock::now() - asked_ < max_age))
      return info_;
  }
  HttpRequest request;
  request.target = "/version";  // every version answers without a prefix
  request.timeout = limit;
  auto answer = client_->Call(std::move(request));
  if (!answer) return TransportError(client_->endpoint(), answer.error());
  if (answer->status != 200) return EngineError("ask for the engine's version", *answer);
  auto doc = json::ParseObject(answer->body);
  const int most = doc ? Minor(json::GetString(*doc, "ApiVersion").value_or("")) : -1;
  if (most < 0)
    return Error{CSB_E_UNAVAILABLE, "what answers is no Docker Engine", "check docker.host (DOCKER_HOST)",
                 false};
  EngineInfo info;
  ReadVersion(*doc, &info);
  const int least = Minor(json::GetString(*doc, "MinAPIVersion").value_or("1.0"));
  if (most < kLeastMinor)
    return Error{CSB_E_UNSUPPORTED,
                 "this engine (" + info.name + " " + info.version + ") speaks API 1." + std::to_string(most) +
                     " at most; 1." + std::to_string(kLeastMinor) + " is needed",
                 "Docker Engine 20.10 or later is needed", false};
  info.api = "1." + std::to_string(std::max(kLeastMinor, least));
  {
    const std::lock_guard lock(mutex_);
    info_.api = info.api;
  }
  auto more = AskJson("/info", "ask about the engine", limit);
  if (!more) return more.error();
  ReadInfo(*more, &info);
  const std::lock_guard lock(mutex_);
  info_ = info;
  known_ = true;
  asked_ = std::chrono::steady_clock::now();
  return info;
}

Result<ImageInfo> Engine::Image(const std::string& name, Limit limit) {
  auto doc = AskJson("/images/" + UrlEscape(name) + "/json", "look for the image " + name, limit);
  if (!doc) return doc.error();
  return ReadImage(*doc);
}

Status Engine::Pullable(const std::string& name, Limit limit) {
  auto answer =
      Ask("GET", "/distribution/" + UrlEscape(name) + "/json", "ask the registry for " + name, limit);
  return answer ? Status() : Status(answer.error());
}

HttpClient::CallId Engine::StartPull(const std::string& name,
                                     std::function<void(const std::string&)> progress, Limit between,
                                     std::function<void(const Status&)> done) {
  // A reference without tag would pull all tags; with a port a colon stands before the last slash.
  const size_t slash = name.rfind('/');
  const bool tagged = name.find('@') != std::string::npos ||
                      name.find(':', slash == std::string::npos ? 0 : slash) != std::string::npos;
  auto reader = std::make_shared<PullReader>(std::move(progress));
  HttpRequest request;
  request.method = "POST";
  request.target = prefix() + "/images/create?fromImage=" + UrlEscape(tagged ? name : name + ":latest");
  request.timeout = between;
  request.on_data = [reader](std::string_view piece) { return reader->Take(piece); };
  const auto outcome = [name, reader,
                        endpoint = client_->endpoint()](const Result<HttpResponse>& answer) -> Status {
    if (!answer && reader->overlong())
      return Error{CSB_E_UNAVAILABLE, "cannot pull " + name + ": the engine sent a line without an end", "",
                   false};
    if (!answer && answer.error().code == CSB_E_CANCELLED)
      return Error{CSB_E_CANCELLED, "the pull of " + name + " was cancelled", "", true};
    if (!answer) return TransportError(endpoint, answer.error());
    if (answer->status != 200) return EngineError("pull " + name, *answer);
    // The status is sent before the work: what failed stands in the stream.
    if (const std::string& said = reader->error(); !said.empty())
      return Error{CSB_E_UNAVAILABLE, "cannot pull " + name + ": " + said, "", true};
    return {};
  };
  return client_->Start(
      std::move(request),
      [outcome, done = std::move(done)](const Result<HttpResponse>& answer) { done(outcome(answer)); });
}

Result<std::string> Engine::CreateContainer(const std::string& name, const std::string& body, Limit limit) {
  auto answer =
      Ask("POST", "/containers/create?name=" + UrlEscape(name), "create the container " + name, limit, body);
  if (!answer) return answer.error();
  auto doc = json::ParseObject(answer->body);
  std::string id = doc ? std::string(json::GetString(*doc, "Id").value_or("")) : std::string();
  if (!IsId(id))
    return Error{CSB_E_UNAVAILABLE, "the engine's answer to a create names no container", "", true};
  return id;
}

Status Engine::Start(const std::string& id, Limit limit) {
  auto answer = Ask("POST", "/containers/" + UrlEscape(id) + "/start", "start the container", limit);
  return answer ? Status() : Status(answer.error());
}

Status Engine::Remove(const std::string& id, Limit limit) {
  auto answer =
      Ask("DELETE", "/containers/" + UrlEscape(id) + "?force=1", "remove the container " + id, limit);
  if (answer || answer.error().code == CSB_E_NOT_FOUND) return {};
  if (answer.error().code != CSB_E_CONFLICT) return answer.error();
  // Somebody else's removal is under way: its end is waited for.
  auto waited = Ask("POST", "/containers/" + UrlEscape(id) + "/wait?condition=removed",
                    "wait for a container's removal", limit);
  return waited || waited.error().code == CSB_E_NOT_FOUND ? Status() : Status(answer.error());
}

Result<std::vector<std::string>> Engine::RootCommands(const std::string& id, Limit limit) {
  auto doc = AskJson("/containers/" + UrlEscape(id) + "/top?ps_args=-eo%20pid,uid,args",
                     "list a container's processes", limit);
  if (!doc) return doc.error();
  return ReadRootCommands(*doc);
}

Result<std::string> Engine::Complaints(const std::string& id, Limit limit) {
  auto answer =
      Ask("GET", "/containers/" + UrlEscape(id) + "/logs?stderr=1&tail=5", "read a container's log", limit);
  if (!answer) return answer.error();
  std::string out;
  // Frames of 8 bytes and text, as an exec session's (exec_stream.h): the text is what is printable here.
  std::string_view rest = answer->body;
  while (rest.size() > 8 && out.size() < 1024) {
    const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(rest[i])); };
    const size_t length = byte(4) << 24 | byte(5) << 16 | byte(6) << 8 | byte(7);
    rest.remove_prefix(8);
    out += std::string(rest.substr(0, length));
    rest.remove_prefix(std::min(length, rest.size()));
  }
  return Printable(out, 1024);
}

Status Engine::WaitEnd(const std::string& id, Limit limit) {
  auto answer = Ask("POST", "/containers/" + UrlEscape(id) + "/wait?condition=not-running",
                    "wait for a container's end", limit);
  return answer || answer.error().code == CSB_E_NOT_FOUND ? Status() : Status(answer.error());
}

Status Engine::Rename(const std::string& from, const std::string& to, Limit limit) {
  auto answer = Ask("POST", "/containers/" + UrlEscape(from) + "/rename?name=" + UrlEscape(to),
                    "name the container " + to, limit);
  return answer ? Status() : Status(answer.error());
}

Result<ContainerInfo> Engine::Inspect(const std::string& id, Limit limit) {
  auto doc = AskJson("/containers/" + UrlEscape(id) + "/json", "look at the container " + id, limit);
  if (!doc) return doc.error();
  return ReadContainer(*doc);
}

Result<std::vector<ListedContainer>> Engine::List(const std::string& label, Limit limit) {
  auto doc = AskJson("/containers/json?all=1&filters=" + LabelFilter(label), "list containers", limit);
  if (!doc) return doc.error();
  return ReadContainers(*doc);
}

Result<Usage> Engine::Stats(const std::string& id, Limit limit) {
  auto doc =
      AskJson("/containers/" + UrlEscape(id) + "/stats?stream=0&one-shot=1", "read a container's use", limit);
  if (!doc) return doc.error();
  return ReadUsage(*doc);
}

Status Engine::PutArchive(const std::string& id, const std::string& folder, const std::string& tar,
                          Limit limit) {
  auto answer = Ask("PUT", "/containers/" + UrlEscape(id) + "/archive?path=" + UrlEscape(folder),
                    "copy a file into the container", limit, tar, "application/x-tar");
  return answer ? Status() : Status(answer.error());
}

Result<Labels> Engine::CreateVolume(const std::string& name, const Labels& labels, uint64_t size,
                                    Limit limit) {
  auto answer =
      Ask("POST", "/volumes/create", "create the volume " + name, limit, VolumeBody(name, labels, size));
  if (!answer) return answer.error();
  auto doc = json::ParseObject(answer->body);
  if (!doc) return Error{CSB_E_UNAVAILABLE, "the engine's answer to a new volume is no JSON", "", true};
  return ReadLabels(*doc, "Labels");
}

Result<Labels> Engine::InspectVolume(const std::string& name, Limit limit) {
  auto doc = AskJson("/volumes/" + UrlEscape(name), "look at the volume " + name, limit);
  if (!doc) return doc.error();
  return ReadLabels(*doc, "Labels");
}

Status Engine::RemoveVolume(const std::string& name, Limit limit) {
  auto answer = Ask("DELETE", "/volumes/" + UrlEscape(name), "remove the volume " + name, limit);
  return answer || answer.error().code == CSB_E_NOT_FOUND ? Status() : Status(answer.error());
}

Result<std::vector<ListedVolume>> Engine::Volumes(const std::string& label, Limit limit) {
  auto doc = AskJson("/volumes?filters=" + LabelFilter(label), "list volumes", limit);
  if (!doc) return doc.error();
  return ReadVolumes(*doc);
}

Status Engine::FindNetwork(const std::string& name, Limit limit) {
  auto found = AskJson("/networks/" + UrlEscape(name), "look for the network " + name, limit);
  return found ? Status() : Status(found.error());
}

Status Engine::EnsureBridge(const std::string& name, const Labels& labels, Limit limit) {
  auto found = AskJson("/networks/" + UrlEscape(name), "look for the network " + name, limit);
  if (found) return CheckBridge(*found, name);
  if (found.error().code != CSB_E_NOT_FOUND) return found.error();
  auto made = Ask("POST", "/networks/create", "create the network " + name, limit, NetworkBody(name, labels));
  // Another host process may have been faster.
  if (!made && made.error().code != CSB_E_CONFLICT) return made.error();
  // Some engines take the option and make something else of it.
  found = AskJson("/networks/" + UrlEscape(name), "look for the network " + name, limit);
  if (!found) return found.error();
  Status apart = CheckBridge(*found, name);
  if (apart || !made) return apart;
  auto removed = Ask("DELETE", "/networks/" + UrlEscape(name), "remove the network " + name, limit);
  return Error{CSB_E_UNSUPPORTED, "docker.network: this engine can't keep sandboxes on one bridge apart",
               "docker.network=none, or the name of a network that the operator made for this", false};
}

}  // namespace csb::docker
