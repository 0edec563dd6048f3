// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/links.h"

#include <future>

#include "plugins/remote/answer.h"
#include "plugins/remote/caller.h"
#include "plugins/remote/mapping.h"
#include "plugins/remote/ranking.h"

namespace csb::remote {
namespace {

using namespace std::chrono_literals;

constexpr auto kDown = 3s;  // before an address that took no connection is tried again by itself
constexpr auto kAsk = 4s;   // for its description, and whether it has a user
constexpr size_t kMaxDocument = 8 << 20;  // of the description
constexpr size_t kMaxAnswer = 40 << 20;   // of any JSON: more than a file of 16 MiB as base64
constexpr size_t kMaxHomes = 100'000;
constexpr auto kPatience = 2s;  // without an answer, before it is asked whether it is there
constexpr auto kAlive = 3s;     // for that; /health waits for nothing
constexpr auto kSilent = 3s;    // what comes in that time is refused at once

}  // namespace

void Link::MarkDown() {
  const std::lock_guard lock(mutex);
  down_until = Reactor::Clock::now() + kDown;
}

void Link::MarkUp() {
  const std::lock_guard lock(mutex);
  down_until = silent_until = {};
}

Result<std::shared_ptr<Links>> Links::Create(Reactor& reactor, const Options& options) {
  std::shared_ptr<Links> links(new Links(reactor, options));
  for (const Address& address : options.addresses) {
    auto link = std::make_unique<Link>();
    link->address = address;
    auto client = HttpClient::Create(reactor, address.endpoint);
    if (!client) return client.error();
    link->client = *std::move(client);
    links->names_.push_back(address.text);
    links->links_.push_back(std::move(link));
  }
  return links;
}

void Links::Close() {
  closed_ = true;
  // What runs on the reactor and saw it open is through after this.
  std::promise<void> through;
  reactor_.Post([&] { through.set_value(); });
  through.get_future().wait();
  // The object outlives what others still hold of it; its clients use the reactor, which does not.
  for (const auto& link : links_) link->client.reset();
}

std::vector<Link*> Links::all() {
  std::vector<Link*> out;
  for (const auto& link : links_) out.push_back(link.get());
  return out;
}

HttpRequest Links::Prepare(const Link& link, HttpRequest request) const {
  request.target = link.address.base + request.target;
  if (!options_.key.empty()) request.headers.push_back("X-API-Key: " + options_.key);
  request.keep.emplace_back("Location");
  request.keep.emplace_back("Retry-After");
  request.max_body = kMaxAnswer;
  return request;
}

void Links::Learn(Link& link, bool again, std::function<void(Status)> known) {
  {
    std::unique_lock lock(link.mutex);
    if (link.learned && !again) {
      lock.unlock();
      return known({});
    }
  }
  HttpRequest request = Prepare(link, {.target = "/openapi.json", .timeout = kAsk});
  request.max_body = kMaxDocument;
  link.client->Start(std::move(request), [self = shared_from_this(), &link,
                                          known = std::move(known)](Result<HttpResponse> answer) {
    if (!answer) return known(ErrorOfTransport(answer.error(), link.where(), true, true));
    // A service that describes itself to nobody has the plain calls. One that refuses the key may have more.
    if (answer->status == 401 || answer->status / 100 == 3 || answer->status >= 500)
      return known(ErrorOf(*answer, link.where()));
    Peer peer = answer->status == 200 ? ReadPeer(answer->body) : Peer();
    {
      const std::lock_guard lock(link.mutex);
      link.peer = std::move(peer);
      link.learned = true;
    }
    known({});
  });
}

void Links::Watch(Link& link, const std::shared_ptr<Caller>& caller) {
  bool arm = false;
  {
    const std::lock_guard lock(link.mutex);
    if (link.instance.empty()) return;
    link.out[caller.get()] = {caller, Reactor::Clock::now()};
    arm = !std::exchange(link.watched, true);
  }
  if (arm) ArmWatch(link);
}

void Links::Unwatch(Link& link, const Caller& caller) {
  const std::lock_guard lock(link.mutex);
  link.out.erase(&caller);
}

void Links::ArmWatch(Link& link) {
  reactor_.At(Reactor::Clock::now() + kPatience,
              [self = shared_from_this(), &link] { self->LookAfter(link); });
}

void Links::LookAfter(Link& link) {
  if (closed_) return;
  bool waits = false;
  {
    const std::lock_guard lock(link.mutex);
    if (link.out.empty()) {
      link.watched = false;
      return;
    }
    const auto since = Reactor::Clock::now() - kPatience;
    for (const auto& [caller, out] : link.out) waits = waits || out.since <= since;
  }
  if (!waits) return ArmWatch(link);
  link.client->Start(Prepare(link, {.target = "/health", .timeout = kAlive}),
                     [self = shared_from_this(), &link](const Result<HttpResponse>& answer) {
                       if (!answer && answer.error().code != CSB_E_CANCELLED) self->LoseAll(link);
                       if (!self->closed_) self->ArmWatch(link);
                     });
}

void Links::LoseAll(Link& link) {
  std::vector<std::shared_ptr<Caller>> lost;
  {
    const std::lock_guard lock(link.mutex);
    for (const auto& [caller, out] : link.out)
      if (auto held = out.caller.lock()) lost.push_back(std::move(held));
    link.silent_until = Reactor::Clock::now() + kSilent;
  }
  link.MarkDown();
  for (const auto& caller : lost) caller->Lose();
}

void Links::Keep(const std::string& user, size_t index) {
  const std::lock_guard lock(mutex_);
  if (homes_.size() >= kMaxHomes) homes_.clear();  // it is only remembered to save a question
  homes_[user] = index;
}

struct Links::Search {
  std::string user;
  std::vector<size_t> order;
  size_t next = 0;
  bool first_silent = false;  // nobody knows what the user's own address has
  std::optional<Error> why;   // of that
  std::function<void(Result<Link*>)> found;
};

void Links::Find(const std::string& user, std::function<void(Result<Link*>)> found) {
  if (links_.size() == 1) return found(links_[0].get());
  auto search = std::make_shared<Search>();
  search->user = user;
  search->found = std::move(found);
  {
    const std::lock_guard lock(mutex_);
    if (const auto home = homes_.find(user); home != homes_.end()) search->order.push_back(home->second);
  }
  if (!search->order.empty() && !links_[search->order[0]]->IsDown())
    return search->found(links_[search->order[0]].get());
  for (const size_t index : Ranking(user, names_))
    if (search->order.empty() || search->order[0] != index) search->order.push_back(index);
  if (!options_.shared) return Ask(std::move(search));
  for (const size_t index : search->order)
    if (!links_[index]->IsDown()) return search->found(links_[index].get());
  search->found(links_[search->order[0]].get());
}

void Links::Ask(std::shared_ptr<Search> search) {
  if (closed_) return search->found(Error{CSB_E_CANCELLED, "shutting down", "", true});
  if (search->next == search->order.size()) {
    const size_t own = search->order[0];
    if (!search->first_silent) {  // new to all of them
      Keep(search->user, own);
      return search->found(links_[own].get());
    }
    Error error = *search->why;
    error.message += "; no other address has this user's sandbox";
    return search->found(std::move(error));
  }
  Link& link = *links_[search->order[search->next]];
  HttpRequest request = Prepare(link, {.target = UserTarget(search->user, "/status"), .timeout = kAsk});
  link.client->Start(std::move(request),
                     [self = shared_from_this(), search, &link](Result<HttpResponse> answer) {
                       const bool has = answer && answer->status == 200;
                       if (has && InfoOf(*answer, link.where(), search->user)) {
                         self->Keep(search->user, search->order[search->next]);
                         return search->found(&link);
                       }
                       if (search->next == 0 && (!answer || answer->status != 404)) {
                         search->first_silent = true;
                         search->why = answer ? ErrorOf(*answer, link.where())
                                              : ErrorOfTransport(answer.error(), link.where(), true, true);
                       }
                       ++search->next;
                       self->Ask(search);
                     });
}

}  // namespace csb::remote
