// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/cluster.h"

#include <map>

#include "plugins/incus/limits.h"

namespace csb::incus {
namespace {

// Nobody waits for it; one that is busy is not to be taken for silent.
constexpr Engine::Limit kLoadLimit = kAskLimit;
constexpr int64_t kCountEvery = 2'000;  // ms

int64_t Milliseconds(const HostRef& host) { return static_cast<int64_t>(host.NowNs() / 1'000'000); }

}  // namespace

Cluster::Cluster(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
                 std::function<void(const std::string& member)> on_silent)
    : host_(host),
      reactor_(reactor),
      engine_(engine),
      options_(options),
      names_(names),
      line_(std::make_shared<Lifeline<Cluster>>(this)) {
  members_ = std::make_unique<Members>(Members::Functions{
      .list = [this] { return engine_.Members(kAskLimit); },
      .load = [this](const std::string& member) { return engine_.Load(member, kLoadLimit); },
      .ping =
          [this](const std::string& member, Members::Limit limit) {
            auto load = engine_.Load(member, limit);
            return load ? Status() : Status(load.error());
          },
      .post = [host](std::function<void()> work) { return host.Post(std::move(work)); },
      .after =
          [this](Members::Limit in, std::function<void()> work) {
            // A ping blocks: not on the reactor's thread.
            reactor_.At(Reactor::Clock::now() + in, [host = host_, work = std::move(work)] {
              if (Status s = host.Post(work); !s) host.LogDebug(s.error().message);
            });
          },
      .on_back =
          [host](const std::string& member) {
            host.LogInfo("the member " + member + " of the cluster answers again");
          },
      .on_silent = std::move(on_silent)});
}

Cluster::~Cluster() {
  line_->Cut();
  members_.reset();
}

Result<bool> Cluster::Clustered() {
  auto info = engine_.Info(kAskLimit);
  if (!info) return info.error();
  return info->clustered;
}

Result<Cluster::Making> Cluster::Place(const Limits& limits, const std::string& fixed) {
  Making out;
  out.member_ = fixed;
  auto clustered = Clustered();
  if (!clustered) return clustered.error();
  if (!*clustered) return out;
  // A create has no time for it; the next ones see it.
  if (fixed.empty() && Milliseconds(host_) - counted_ms_ > kCountEvery) {
    counted_ms_ = Milliseconds(host_);
    const Status posted =
        host_.Post([line = line_] { line->With([](Cluster& cluster) { cluster.CountAgain(); }); });
    if (!posted) return posted.error();
  }
  PlacementRule rule;
  rule.member = fixed;
  rule.memory = limits.memory;
  // A target that is one member holds for new users; files elsewhere win.
  if (options_.target.starts_with("@"))
    rule.group = options_.target;
  else if (fixed.empty())
    rule.member = options_.target;
  auto reserved = members_->Reserve(rule, host_.NowNs());
  if (!reserved) return reserved.error();
  out.member_ = reserved->member();
  out.reservation_ = *std::move(reserved);
  return out;
}

std::optional<Error> Cluster::Down(const std::string& member) const { return members_->Down(member); }

std::optional<Members::Clock::time_point> Cluster::SilentSince(const std::string& member) const {
  return members_->SilentSince(member);
}

void Cluster::Suspect(const std::string& member, const std::string& why) {
  if (member.empty() || member == "none") return;
  host_.LogWarn("the member " + member + " of the cluster seems not to answer: " + why);
  members_->Suspect(member, why);
}

void Cluster::Note(const std::string& member, const Error& error) {
  const auto says = [&](const char* words) { return error.message.find(words) != std::string::npos; };
  if (member.empty() || says("not running")) return;
  if (error.code == CSB_E_DEADLINE || says("did not answer") || says("member") || says("No route") ||
      says("i/o timeout") || says("is not heard of"))
    Suspect(member, error.message);
}

bool Cluster::Evacuated(const std::string& member) {
  auto candidates = members_->Candidates(Members::kFresh);
  if (!candidates) return false;
  for (const Candidate& c : *candidates)
    if (c.name == member) return c.evacuated;
  return false;
}

void Cluster::LookAgain() {
  if (auto now = members_->Candidates(Members::Limit(0)); !now) host_.LogWarn(now.error().message);
}

void Cluster::Refresh() { members_->Refresh(); }

void Cluster::CountAgain() {
  auto clustered = Clustered();
  if (!clustered || !*clustered) return;
  counted_ms_ = Milliseconds(host_);
  auto instances = engine_.Instances(kKeyInstallation, names_.installation(), kAskLimit);
  if (!instances) return;
  std::map<std::string, uint64_t> counts;
  for (const InstanceInfo& info : *instances)
    if (info.alive()) ++counts[info.location];
  members_->SetCounts(counts);
}

}  // namespace csb::incus
