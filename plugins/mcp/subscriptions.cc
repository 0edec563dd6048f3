// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/subscriptions.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"

namespace csb::mcp {

// One file_stat. Its state is what a change would change; an error other than a missing file leaves it.
class Subscriptions::Look final : public CallHandler {
 public:
  Look(std::weak_ptr<Subscriptions> owner, uint64_t id) : owner_(std::move(owner)), id_(id) {}
  void OnOutput(Call& call, uint32_t, std::string_view data) override { call.Credit(data.size()); }
  void OnDone(Call&, const OutcomeView& outcome) override {
    std::string state;
    if (outcome.code == CSB_E_NOT_FOUND) state = "missing";
    if (const auto entry = outcome.ok() ? json::ParseObject(outcome.result) : Error{})
      for (const char* name : {"type", "size", "mtime"}) {
        const json::Value* value = json::Find(*entry, name);
        state += (value == nullptr ? "" : json::ToString(*value)) + " ";
      }
    if (const auto owner = owner_.lock()) owner->Looked(id_, std::move(state));
  }

 private:
  const std::weak_ptr<Subscriptions> owner_;
  const uint64_t id_;
};

bool Subscriptions::Watch(File file, std::function<void()> ready) {
  uint64_t id;
  {
    const std::lock_guard lock(mutex_);
    const auto same = [&](const auto& each) { return each.second.file.user == file.user; };
    if (files_.size() >= kMost ||
        static_cast<size_t>(std::count_if(files_.begin(), files_.end(), same)) >= kMostOfUser)
      return false;
    id = ++last_;
    files_.emplace(id, Watched{.file = std::move(file), .state = {}, .ready = std::move(ready)});
  }
  LookAt(id);
  return true;
}

void Subscriptions::Drop(const void* owner, std::string_view uri) {
  std::vector<Watched> gone;  // freed without the lock
  const std::lock_guard lock(mutex_);
  for (auto it = files_.begin(); it != files_.end();) {
    const File& file = it->second.file;
    if (file.owner != owner || (!uri.empty() && file.uri != uri)) {
      ++it;
      continue;
    }
    gone.push_back(std::move(it->second));
    it = files_.erase(it);
  }
}

void Subscriptions::CallEnded(std::string_view user) {
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [id, watched] : files_) {
      if (watched.file.user != user) continue;
      watched.again = watched.looking;  // the look may be of a moment ago
      if (!watched.looking) ids.push_back(id);
    }
  }
  for (const uint64_t id : ids) LookAt(id);
}

void Subscriptions::LookAt(uint64_t id) {
  json::Buffer buffer;
  json::Writer w(buffer);
  RequestView view;
  std::string user;
  {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(id);
    if (found == files_.end() || std::exchange(found->second.looking, true)) return;
    user = found->second.file.user;
    w.StartObject();
    json::Member(w, "path", std::string_view(found->second.file.path));
    w.EndObject();
  }
  view.op = CSB_OP_FILE_STAT;
  view.user = user;
  view.request_id = "mcp-watch";
  view.payload = {buffer.GetString(), buffer.GetSize()};
  view.output_credit = kDefaultCredit;
  const auto call = service_.Submit(view, std::make_shared<Look>(weak_from_this(), id));
  if (!call) Looked(id, call.error().code == CSB_E_NOT_FOUND ? "missing" : "");
}

void Subscriptions::Looked(uint64_t id, std::string state) {
  std::function<void()> ready;
  std::function<bool(std::string_view)> tell;
  std::string uri;
  const void* owner = nullptr;
  bool again;
  {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(id);
    if (found == files_.end()) return;
    Watched& watched = found->second;
    watched.looking = false;
    again = std::exchange(watched.again, false);
    ready = std::exchange(watched.ready, nullptr);
    if (state.empty()) state = watched.state.empty() ? "unknown" : watched.state;
    if (!ready && state != watched.state) {
      tell = watched.file.tell;
      uri = watched.file.uri;
      owner = watched.file.owner;
    }
    watched.state = std::move(state);
  }
  if (ready) ready();
  if (tell && !tell(uri)) Drop(owner);
  if (again) LookAt(id);
}

}  // namespace csb::mcp
