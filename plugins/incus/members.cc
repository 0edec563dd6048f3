// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/members.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace csb::incus {
namespace {

using Time = Members::Clock::time_point;

// Outside a cluster the engine calls its only member "none".
bool IsMember(const std::string& name) { return !name.empty() && name != "none"; }

struct Suspicion {
  Time since;
  std::string why;
  Time hold;  // until then an answered ping is no proof
};

struct Member {
  MemberInfo info;
  bool listed = false;
  bool online = false;  // by the last list, as far as that can be believed
  MemberLoad load;
  std::optional<Time> load_at;  // of the last attempt
  uint64_t sandboxes = 0, creating = 0;
  std::deque<Time> failures;
  std::optional<Suspicion> suspicion;
  std::optional<Time> answered;  // the ping that ended the last suspicion
  Members::Limit hold{0};        // of the next suspicion that comes too soon
  uint64_t prober = 0;           // of whoever pings it; 0: nobody
};

}  // namespace

struct Members::Impl : std::enable_shared_from_this<Members::Impl> {
  explicit Impl(Functions f) : functions(std::move(f)) {}

  const Functions functions;
  mutable std::mutex mutex;
  std::condition_variable changed;  // listing ended, or calls went to 0
  std::map<std::string, Member> members;
  std::optional<Time> listed_at;
  bool listing = false;
  uint64_t lists = 0;               // that were tried
  std::optional<Error> list_error;  // of the last one
  bool loading = false;             // loads are being read, or will be
  bool refreshing = false;          // a Refresh is on its way
  bool stale = false;               // a list that is being read may miss what Refresh is about
  int calls = 0;                    // functions that run
  bool stopping = false;
  uint64_t next_prober = 1;
  size_t pings = 0;                                      // that run or wait for a worker
  std::deque<std::pair<std::string, uint64_t>> waiting;  // to ping

  Time Now() const { return functions.now(); }

  // Calls f unless Members goes; the destructor waits for it.
  template <typename F>
  bool Call(F&& f) {
    {
      const std::lock_guard lock(mutex);
      if (stopping) return false;
      ++calls;
    }
    struct Leave {
      Impl& impl;
      ~Leave() {
        const std::lock_guard lock(impl.mutex);
        --impl.calls;
        impl.changed.notify_all();
      }
    } leave{*this};
    f();
    return true;
  }
  bool Post(void (Impl::*work)()) {
    bool posted = false;
    Call([&] { posted = functions.post([self = shared_from_this(), work] { ((*self).*work)(); }).ok(); });
    return posted;
  }
  void After(Limit limit, std::function<void(Impl&)> fn) {
    Call([&] {
      functions.after(limit, [weak = weak_from_this(), fn = std::move(fn)] {
        if (const auto self = weak.lock()) fn(*self);
      });
    });
  }

  // ---- the list ----
  bool Fresh(Limit max_age) const { return listed_at && Now() - *listed_at <= max_age; }
  Status WaitForList(Limit max_age);
  std::optional<Error> ReadList();
  void Apply(std::vector<MemberInfo> list, std::vector<std::string>* offline);
  void ReadLoads();
  void StartLoads();
  void Refresh();
  void DoRefresh();
  std::vector<Candidate> Known();

  // ---- silence ----
  void Suspect(const std::string& name, const std::string& why);
  bool End(const std::string& name, bool pinged);
  void Ping(const std::string& name, uint64_t prober);
  void PingNow(const std::string& name, uint64_t prober);
  void Pinged(const std::string& name, uint64_t prober, bool answered, Clock::duration took);
  bool Probing(const std::string& name, uint64_t prober);
};

// One reads, the others wait for what it gets.
Status Members::Impl::WaitForList(Limit max_age) {
  {
    std::unique_lock lock(mutex);
    if (Fresh(max_age)) return {};
    const uint64_t before = lists;
    if (listing) {
      changed.wait(lock, [&] { return stopping || lists != before; });
      if (stopping) return Error{CSB_E_CANCELLED, "the backend is being stopped", "", false};
      if (Fresh(kStale)) return {};
      return list_error.value_or(Error{CSB_E_UNAVAILABLE, "the cluster's members are not known", "", true});
    }
    if (stopping) return Error{CSB_E_CANCELLED, "the backend is being stopped", "", false};
    listing = true;
  }
  auto error = ReadList();
  if (!error) return {};
  const std::lock_guard lock(mutex);
  if (Fresh(kStale)) return {};  // the create itself will say what is wrong, if it still is
  return *std::move(error);
}

// `listing` is set, and is not when this is through.
std::optional<Error> Members::Impl::ReadList() {
  std::vector<std::string> offline;
  bool again = false;
  std::optional<Error> error = Error{CSB_E_CANCELLED, "the backend is being stopped", "", false};
  Result<std::vector<MemberInfo>> list = *error;
  const bool called = Call([&] { list = functions.list(); });
  {
    const std::lock_guard lock(mutex);
    listing = false;
    ++lists;
    error.reset();
    if (list) {
      Apply(*std::move(list), &offline);
    } else {
      error = list.error();
    }
    list_error = error;
    again = std::exchange(stale, false);
    changed.notify_all();
  }
  if (!called) return error;
  for (const std::string& name : offline) Suspect(name, "the cluster calls it offline");
  if (again) Refresh();
  if (!error) StartLoads();
  return error;
}

void Members::Impl::Apply(std::vector<MemberInfo> list, std::vector<std::string>* offline) {
  const Time now = Now();
  listed_at = now;
  for (auto& [name, member] : members) member.listed = false;
  // After an election nobody was heard for a while: nobody could write it down.
  const bool believed =
      !std::all_of(list.begin(), list.end(), [](const MemberInfo& m) { return m.status == "Offline"; });
  for (MemberInfo& info : list) {
    if (!IsMember(info.name)) continue;
    Member& member = members[info.name];
    member.listed = true;
    member.info = std::move(info);
    const bool offline_listed = member.info.status == "Offline";
    member.online = member.info.online() || (offline_listed && !believed);
    // The cluster needs some seconds to see that one is back, and up to 20 to see that it went.
    const bool trusted = member.answered && now - *member.answered <= kTrust;
    if (offline_listed && believed && !member.suspicion && !trusted) offline->push_back(member.info.name);
  }
  std::erase_if(members, [](const auto& entry) {
    const Member& m = entry.second;
    return !m.listed && m.creating == 0 && m.sandboxes == 0;
  });
  for (auto& [name, member] : members)
    if (!member.listed) member.suspicion.reset(), member.prober = 0;
}

void Members::Impl::StartLoads() {
  {
    const std::lock_guard lock(mutex);
    if (loading) return;
    loading = true;
  }
  if (Post(&Impl::ReadLoads)) return;
  const std::lock_guard lock(mutex);
  loading = false;
}

// The oldest few: a list of a thousand members must not become a thousand requests.
void Members::Impl::ReadLoads() {
  std::vector<std::pair<Time, std::string>> due;
  {
    const std::lock_guard lock(mutex);
    const Time now = Now();
    for (const auto& [name, m] : members)
      if (m.listed && !m.suspicion && m.online && (!m.load_at || now - *m.load_at >= kFresh))
        due.emplace_back(m.load_at.value_or(Time::min()), name);
  }
  std::sort(due.begin(), due.end());
  if (due.size() > kLoads) due.resize(kLoads);
  for (const auto& [at, name] : due) {
    Result<MemberLoad> load = Error{};
    if (!Call([&] { load = functions.load(name); })) break;
    bool silent = false;
    {
      const std::lock_guard lock(mutex);
      const auto it = members.find(name);
      if (it == members.end()) continue;
      it->second.load_at = Now();
      it->second.load = load ? *load : MemberLoad{};
      silent = !load && (load.error().code == CSB_E_DEADLINE || load.error().code == CSB_E_UNAVAILABLE);
    }
    if (!silent) continue;
    // A load is a lot of work for a member that came back just now; whether it runs commands is what counts.
    Status pinged;
    if (!Call([&] { pinged = functions.ping(name, kPingLimit); })) break;
    if (pinged) continue;
    Suspect(name, load.error().message);
    break;  // it may as well be the engine that we ask: the others are not blamed for that
  }
  const std::lock_guard lock(mutex);
  loading = false;
}

void Members::Impl::Refresh() {
  Limit wait{0};
  {
    const std::lock_guard lock(mutex);
    if (refreshing || stopping) return;
    refreshing = true;
    if (listed_at) {
      const auto age = std::chrono::duration_cast<Limit>(Now() - *listed_at);
      wait = std::max(Limit(0), kRefreshEvery - age);
    }
  }
  const auto begin = [](Impl& impl) {
    if (impl.Post(&Impl::DoRefresh)) return;
    const std::lock_guard lock(impl.mutex);
    impl.refreshing = false;
  };
  if (wait > Limit(0)) return After(wait, begin);
  begin(*this);
}

void Members::Impl::DoRefresh() {
  {
    const std::lock_guard lock(mutex);
    refreshing = false;
    if (stopping) return;
    stale = listing;
    if (listing) return;
    listing = true;
  }
  ReadList();  // what went wrong is told by the next who needs the list
}

std::vector<Candidate> Members::Impl::Known() {
  std::vector<Candidate> known;
  const Time now = Now();
  for (auto& [name, m] : members) {
    if (!m.listed) continue;
    while (!m.failures.empty() && now - m.failures.front() > kRemember) m.failures.pop_front();
    const bool answered = m.answered && now - *m.answered <= kTrust;
    Candidate c;
    c.name = name;
    c.online = m.online || (m.info.status == "Offline" && answered);
    c.evacuated = m.info.status == "Evacuated";
    c.suspected = m.suspicion.has_value();
    c.groups = m.info.groups;
    c.architecture = m.info.architecture;
    c.sandboxes = m.sandboxes;
    c.creating = m.creating;
    c.memory_total = m.load.memory_total;
    c.memory_free = m.load.memory_free;
    c.load = m.load.load;
    c.cpus = m.load.cpus;
    c.failures = m.failures.size();
    known.push_back(std::move(c));
  }
  return known;
}

void Members::Impl::Suspect(const std::string& name, const std::string& why) {
  if (!IsMember(name)) return;
  uint64_t prober = 0;
  {
    const std::lock_guard lock(mutex);
    if (stopping) return;
    Member& m = members[name];
    if (m.suspicion) return;
    const Time now = Now();
    const bool again = m.answered && now - *m.answered <= kAgain;
    m.hold = again ? std::min(std::max(m.hold * 2, Limit(2000)), kMostHold) : Limit(0);
    m.suspicion = Suspicion{now, why.substr(0, 200), now + m.hold};
    if (m.prober == 0) prober = m.prober = next_prober++;  // else one is still at it
  }
  if (functions.on_silent) Call([&] { functions.on_silent(name); });
  if (prober != 0) Ping(name, prober);
}

// True: it was silent and is not any more.
bool Members::Impl::End(const std::string& name, bool pinged) {
  const std::lock_guard lock(mutex);
  const auto it = members.find(name);
  if (it == members.end() || !it->second.suspicion) return false;
  const Time now = Now();
  if (pinged && now < it->second.suspicion->hold) return false;
  it->second.suspicion.reset();
  it->second.answered = now;
  return true;
}

bool Members::Impl::Probing(const std::string& name, uint64_t prober) {
  const auto it = members.find(name);
  if (it == members.end() || it->second.prober != prober) return false;
  if (it->second.suspicion && !stopping) return true;
  it->second.prober = 0;
  return false;
}

void Members::Impl::Ping(const std::string& name, uint64_t prober) {
  {
    const std::lock_guard lock(mutex);
    if (!Probing(name, prober)) return;
    if (pings >= kPings) return waiting.emplace_back(name, prober), void();
    ++pings;
  }
  bool posted = false;
  Call([&] {
    posted = functions.post([self = shared_from_this(), name, prober] { self->PingNow(name, prober); }).ok();
  });
  if (!posted) Pinged(name, prober, false, Clock::duration{0});
}

void Members::Impl::PingNow(const std::string& name, uint64_t prober) {
  bool wanted = false;
  {
    const std::lock_guard lock(mutex);
    wanted = Probing(name, prober);
  }
  bool answered = false;
  const Time start = Now();
  if (wanted) Call([&] { answered = functions.ping(name, kPingLimit).ok(); });
  Pinged(name, prober, answered, Now() - start);
}

void Members::Impl::Pinged(const std::string& name, uint64_t prober, bool answered, Clock::duration took) {
  std::optional<std::pair<std::string, uint64_t>> next;
  {
    const std::lock_guard lock(mutex);
    --pings;
    while (!next && !waiting.empty()) {
      if (Probing(waiting.front().first, waiting.front().second)) next = std::move(waiting.front());
      waiting.pop_front();
    }
  }
  const bool back = answered && End(name, true);
  bool more = false;
  {
    const std::lock_guard lock(mutex);
    more = Probing(name, prober);
  }
  if (next) Ping(next->first, next->second);
  if (back && functions.on_back) Call([&] { functions.on_back(name); });
  if (!more) return;
  const Limit rest = std::max(kPingRest, kPingEvery - std::chrono::duration_cast<Limit>(took));
  After(rest, [name, prober](Impl& impl) { impl.Ping(name, prober); });
}

Members::Members(Functions functions) : impl_(std::make_shared<Impl>(std::move(functions))) {}

Members::~Members() {
  std::unique_lock lock(impl_->mutex);
  impl_->stopping = true;
  impl_->waiting.clear();
  impl_->changed.notify_all();
  impl_->changed.wait(lock, [&] { return impl_->calls == 0; });
}

std::optional<Error> Members::Down(const std::string& member) const {
  const std::lock_guard lock(impl_->mutex);
  const auto it = impl_->members.find(member);
  if (it == impl_->members.end() || !it->second.suspicion) return std::nullopt;
  const Suspicion& s = *it->second.suspicion;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(impl_->Now() - s.since).count();
  return Error{
      CSB_E_UNAVAILABLE,
      "member " + member + " of the cluster does not answer (since " + std::to_string(seconds) +
          " s): sandboxes on it can't be reached; others go on",
      "incus cluster list; it is tried again every few seconds" + (s.why.empty() ? "" : "; " + s.why), true};
}

std::optional<Members::Clock::time_point> Members::SilentSince(const std::string& member) const {
  const std::lock_guard lock(impl_->mutex);
  const auto it = impl_->members.find(member);
  if (it == impl_->members.end() || !it->second.suspicion) return std::nullopt;
  return it->second.suspicion->since;
}

void Members::Suspect(const std::string& member, const std::string& why) { impl_->Suspect(member, why); }

void Members::Clear(const std::string& member) { impl_->End(member, false); }

Result<std::vector<Candidate>> Members::Candidates(Limit max_age) {
  if (Status s = impl_->WaitForList(max_age); !s) return s.error();
  const std::lock_guard lock(impl_->mutex);
  return impl_->Known();
}

Result<Members::Reservation> Members::Reserve(const PlacementRule& rule, uint64_t seed) {
  if (Status s = impl_->WaitForList(kFresh); !s) return s.error();
  const std::lock_guard lock(impl_->mutex);
  auto member = Place(impl_->Known(), rule, seed);
  if (!member) return member.error();
  ++impl_->members[*member].creating;
  return Reservation(impl_, *std::move(member));
}

void Members::Refresh() { impl_->Refresh(); }

void Members::SetCounts(const std::map<std::string, uint64_t>& sandboxes) {
  const std::lock_guard lock(impl_->mutex);
  for (auto& [name, m] : impl_->members) m.sandboxes = 0;
  for (const auto& [member, count] : sandboxes)
    if (IsMember(member)) impl_->members[member].sandboxes = count;
}

Members::Reservation& Members::Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  Release();
  impl_ = std::move(other.impl_);
  member_ = std::move(other.member_);
  return *this;
}

void Members::Reservation::End(bool created) {
  if (impl_ == nullptr) return;
  {
    const std::lock_guard lock(impl_->mutex);
    Member& m = impl_->members[member_];
    if (created) {
      ++m.sandboxes;
    } else {
      m.failures.push_back(impl_->Now());
      if (m.failures.size() > kFailing) m.failures.pop_front();
    }
  }
  Release();
}

void Members::Reservation::Release() {
  if (impl_ == nullptr) return;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto it = impl_->members.find(member_);
    if (it != impl_->members.end() && it->second.creating > 0) --it->second.creating;
  }
  impl_.reset();
}

}  // namespace csb::incus
