// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "plugins/common/reactor.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Limit = Members::Limit;

MemberInfo Info(const std::string& name, const std::string& status = "Online") {
  MemberInfo info;
  info.name = name;
  info.status = status;
  info.groups = {"default"};
  info.architecture = "x86_64";
  return info;
}

// One thread; workers and timers run when time is advanced.
class MembersTest : public ::testing::Test {
 protected:
  MembersTest() {
    list_ = {Info("m1"), Info("m2"), Info("m3")};
    members_ = std::make_unique<Members>(Members::Functions{
        .list = [this]() -> Result<std::vector<MemberInfo>> {
          ++lists_;
          if (during_list_) during_list_();
          if (list_fails_) return Error{CSB_E_UNAVAILABLE, "no leader", "", true};
          return list_;
        },
        .load = [this](const std::string& member) -> Result<MemberLoad> {
          loads_.push_back(member);
          if (busy_.contains(member) || silent_.contains(member))
            return Error{CSB_E_DEADLINE, member + " hangs", "", true};
          return load_;
        },
        .ping = [this](const std::string& member, Limit limit) -> Status {
          pings_.push_back(now_);
          pinged_.insert(member);
          if (!silent_.contains(member)) return {};
          now_ += limit;
          return Error{CSB_E_DEADLINE, "no answer", "", true};
        },
        .post = [this](std::function<void()> work) -> Status {
          if (post_fails_) return Error{CSB_E_CANCELLED, "stopping", "", false};
          posted_.push_back(std::move(work));
          return {};
        },
        .after = [this](Limit limit,
                        std::function<void()> fn) { timers_.emplace(now_ + limit, std::move(fn)); },
        .now = [this] { return now_; },
        .on_back = [this](const std::string& member) { back_.push_back(member); },
        .on_silent = [this](const std::string& member) { gone_.push_back(member); },
    });
  }

  void RunPosted() {
    while (!posted_.empty()) {
      auto work = std::move(posted_.front());
      posted_.pop_front();
      work();
    }
  }
  void Advance(Limit by) {
    const auto end = now_ + by;
    RunPosted();
    while (!timers_.empty() && timers_.begin()->first <= end) {
      now_ = std::max(now_, timers_.begin()->first);
      auto fn = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      fn();
      RunPosted();
    }
    now_ = std::max(now_, end);
  }
  bool Down(const std::string& member) { return members_->Down(member).has_value(); }
  Candidate Of(const std::string& name) {
    const auto all = members_->Candidates(Members::kStale);
    EXPECT_TRUE(all);
    if (all)
      for (const Candidate& c : *all)
        if (c.name == name) return c;
    ADD_FAILURE() << name << " is not known";
    return {};
  }

  Members::Clock::time_point now_ = Members::Clock::time_point(1000s);
  std::vector<MemberInfo> list_;
  MemberLoad load_{.memory_total = 8, .memory_free = 4, .load = 1, .cpus = 2};
  std::set<std::string> silent_, busy_, pinged_;
  bool list_fails_ = false, post_fails_ = false;
  std::function<void()> during_list_;
  int lists_ = 0;
  std::vector<std::string> loads_, back_, gone_;
  std::vector<Members::Clock::time_point> pings_;
  std::deque<std::function<void()>> posted_;
  std::multimap<Members::Clock::time_point, std::function<void()>> timers_;
  std::unique_ptr<Members> members_;
};

TEST_F(MembersTest, NothingIsAskedWhileNothingIsWanted) {
  Advance(1h);
  EXPECT_EQ(lists_, 0);
  EXPECT_TRUE(pings_.empty());
  EXPECT_TRUE(timers_.empty());
  EXPECT_FALSE(Down("m1"));
}

TEST_F(MembersTest, ASilentMemberIsAnErrorAtOnce) {
  silent_ = {"m2"};
  members_->Suspect("m2", "exec timed out");
  Advance(12s);
  const auto error = members_->Down("m2");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(error->retryable);
  EXPECT_THAT(error->message, HasSubstr("member m2 of the cluster does not answer (since 1"));
  EXPECT_THAT(error->message, HasSubstr("others go on"));
  EXPECT_THAT(error->hint, HasSubstr("incus cluster list"));
  EXPECT_THAT(error->hint, HasSubstr("exec timed out"));
  EXPECT_FALSE(Down("m1"));
}

TEST_F(MembersTest, OnePingAboutEverySecondHoweverManyWait) {
  silent_ = {"m2"};
  for (int i = 0; i < 100; ++i) {
    members_->Suspect("m2", "exec timed out");
    EXPECT_TRUE(Down("m2"));
  }
  Advance(60s);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Down("m2"));
  EXPECT_GE(pings_.size(), 60u / 2);
  EXPECT_LE(pings_.size(), 60u);
  for (size_t i = 1; i < pings_.size(); ++i) EXPECT_GE(pings_[i] - pings_[i - 1], 1s) << i;
}

TEST_F(MembersTest, BackWithinTwoSecondsWheneverItReturns) {
  for (Limit when = 0ms; when <= 4s; when += 130ms) {
    silent_ = {"m2"};
    members_->Suspect("m2", "");
    Advance(when);
    silent_.clear();
    const auto returned = now_;
    while (Down("m2")) {
      ASSERT_LE(now_ - returned, 2s) << when.count();
      Advance(10ms);
    }
    Advance(1min);  // it is no repetition
  }
  EXPECT_FALSE(back_.empty());
  const size_t pings = pings_.size();
  Advance(1h);
  EXPECT_EQ(pings_.size(), pings) << "and nothing is asked any more";
  EXPECT_TRUE(timers_.empty());
}

// Its pings are answered, calls hang all the same: the users are spared.
TEST_F(MembersTest, OneThatIsSilentAgainAndAgainIsNotBelievedSoSoon) {
  members_->Suspect("m2", "");
  Advance(1s);
  EXPECT_FALSE(Down("m2"));
  std::vector<Limit> downs;
  for (int i = 0; i < 6; ++i) {
    members_->Suspect("m2", "");
    const auto start = now_;
    while (Down("m2")) Advance(50ms);
    downs.push_back(std::chrono::duration_cast<Limit>(now_ - start));
  }
  EXPECT_GE(downs[0], 2s);
  EXPECT_GE(downs[1], 4s);
  EXPECT_GE(downs[4], 16s);
  EXPECT_LE(downs[5], 18s);
  Advance(11s);
  members_->Suspect("m2", "");
  Advance(0s);
  EXPECT_FALSE(Down("m2")) << "all forgotten";
}

TEST_F(MembersTest, ManySilentMembersArePingedAFewAtATime) {
  list_.clear();
  for (int i = 0; i < 20; ++i) {
    list_.push_back(Info("x" + std::to_string(i), "Offline"));
    silent_.insert(list_.back().name);
  }
  list_.push_back(Info("here"));  // who gives the list
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_EQ(posted_.size(), Members::kPings + 1) << "and the reading of loads";
  Advance(2min);
  EXPECT_EQ(pinged_.size(), 20u);
  silent_.clear();
  Advance(20s);
  for (const MemberInfo& info : list_) EXPECT_FALSE(Down(info.name)) << info.name;
}

TEST_F(MembersTest, OneThatIsClearedWhileItWaitsDoesNotHoldUpTheRest) {
  for (int i = 0; i < 6; ++i) {
    silent_.insert("x" + std::to_string(i));
    members_->Suspect("x" + std::to_string(i), "");
  }
  members_->Clear("x4");
  EXPECT_FALSE(Down("x4"));
  silent_.clear();
  Advance(3s);
  EXPECT_EQ(pinged_, (std::set<std::string>{"x0", "x1", "x2", "x3", "x5"}));
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(Down("x" + std::to_string(i))) << i;
}

// One of them gave it. After an election it takes some seconds until the database knows when whom was heard.
TEST_F(MembersTest, AListThatCallsAllOfThemOfflineIsNotBelieved) {
  for (MemberInfo& info : list_) info.status = "Offline";
  ASSERT_TRUE(members_->Candidates(Limit(0)));
  EXPECT_FALSE(Down("m1") || Down("m2") || Down("m3"));
  EXPECT_TRUE(Of("m1").online);
  EXPECT_TRUE(members_->Reserve({}, 1));
  Advance(1s);
  list_[0].status = "Online";
  ASSERT_TRUE(members_->Candidates(Limit(0)));
  EXPECT_FALSE(Down("m1"));
  EXPECT_TRUE(Down("m2") && Down("m3"));
}

TEST_F(MembersTest, TheBeginningOfSilenceIsToldOnce) {
  silent_ = {"m2"};
  EXPECT_FALSE(members_->SilentSince("m2"));
  const auto began = now_;
  members_->Suspect("m2", "exec timed out");
  members_->Suspect("m2", "exec timed out");
  EXPECT_THAT(gone_, ElementsAre("m2"));
  EXPECT_EQ(members_->SilentSince("m2"), began);
  silent_.clear();
  Advance(5s);
  EXPECT_FALSE(members_->SilentSince("m2"));
  silent_ = {"m2"};
  Advance(1min);
  members_->Suspect("m2", "exec timed out");
  EXPECT_THAT(gone_, ElementsAre("m2", "m2"));
}

TEST_F(MembersTest, OfflineByTheClusterIsSilentUntilItAnswers) {
  list_[1].status = "Offline";
  silent_ = {"m2"};
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_TRUE(Down("m2"));
  EXPECT_FALSE(Of("m2").online);
  Advance(5s);
  silent_.clear();
  Advance(2s);
  EXPECT_FALSE(Down("m2"));
  EXPECT_EQ(back_, std::vector<std::string>{"m2"});
  EXPECT_TRUE(Of("m2").online) << "the cluster sees it some seconds later";
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_FALSE(Down("m2"));
}

TEST_F(MembersTest, EvacuatedIsNotSilent) {
  list_[1].status = "Evacuated";
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_FALSE(Down("m2"));
  EXPECT_TRUE(Of("m2").evacuated);
  const auto fixed = members_->Reserve({.member = "m2"}, 1);
  ASSERT_FALSE(fixed);
  EXPECT_THAT(fixed.error().message, HasSubstr("evacuated"));
}

TEST_F(MembersTest, AMemberThatLeftIsForgotten) {
  silent_ = {"m2"};
  members_->Suspect("m2", "");
  Advance(1s);
  list_.erase(list_.begin() + 1);
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_FALSE(Down("m2"));
  const size_t pings = pings_.size();
  Advance(1min);
  EXPECT_EQ(pings_.size(), pings);
}

TEST_F(MembersTest, OutsideAClusterNobodyIsSuspected) {
  members_->Suspect("none", "");
  members_->Suspect("", "");
  EXPECT_FALSE(Down("none"));
  EXPECT_FALSE(Down(""));
  EXPECT_TRUE(posted_.empty());
}

TEST_F(MembersTest, TheListIsReadWhenItIsOld) {
  ASSERT_TRUE(members_->Reserve({}, 1));
  ASSERT_TRUE(members_->Reserve({}, 2));
  EXPECT_EQ(lists_, 1);
  Advance(Members::kFresh + 1ms);
  ASSERT_TRUE(members_->Reserve({}, 3));
  EXPECT_EQ(lists_, 2);
}

TEST_F(MembersTest, EventsRefreshItAtMostOnceASecond) {
  ASSERT_TRUE(members_->Candidates(0s));
  for (int i = 0; i < 50; ++i) {
    members_->Refresh();
    Advance(100ms);
  }
  EXPECT_GE(lists_, 5);
  EXPECT_LE(lists_, 7);
}

TEST_F(MembersTest, AnEventDuringTheListIsNotMissed) {
  during_list_ = [&] {
    during_list_ = nullptr;
    members_->Refresh();
    RunPosted();
  };
  ASSERT_TRUE(members_->Candidates(0s));
  EXPECT_EQ(lists_, 1);
  Advance(2s);
  EXPECT_EQ(lists_, 2);
}

TEST_F(MembersTest, AListThatFailsIsAnErrorOnlyWhenNoneIsRecent) {
  list_fails_ = true;
  const auto none = members_->Reserve({}, 1);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("no leader"));
  list_fails_ = false;
  ASSERT_TRUE(members_->Reserve({}, 1));
  list_fails_ = true;
  Advance(60s);
  EXPECT_TRUE(members_->Reserve({}, 1)) << "a leader is elected within seconds";
  Advance(Members::kStale);
  EXPECT_FALSE(members_->Reserve({}, 1));
}

TEST_F(MembersTest, LoadsAreReadAFewAtATime) {
  list_.clear();
  for (int i = 0; i < 100; ++i) list_.push_back(Info("x" + std::to_string(i)));
  for (int i = 0; i < 7; ++i) {
    Advance(1ms);
    ASSERT_TRUE(members_->Candidates(0s));
    RunPosted();
    EXPECT_LE(loads_.size(), (static_cast<size_t>(i) + 1) * Members::kLoads);
  }
  EXPECT_EQ(std::set<std::string>(loads_.begin(), loads_.end()).size(), 100u);
  EXPECT_EQ(Of("x7").memory_free, 4u);
}

TEST_F(MembersTest, ALoadThatHangsIsHowSilenceIsNoticed) {
  silent_ = {"m1"};
  ASSERT_TRUE(members_->Candidates(0s));
  RunPosted();
  EXPECT_TRUE(Down("m1"));
  EXPECT_FALSE(Down("m2"));
  EXPECT_EQ(loads_, std::vector<std::string>{"m1"}) << "it may be the engine: the others are not blamed";
}

TEST_F(MembersTest, OneThatAnswersBesideItsLoadIsNotSilent) {
  busy_ = {"m1"};
  ASSERT_TRUE(members_->Candidates(0s));
  RunPosted();
  EXPECT_FALSE(Down("m1"));
  EXPECT_EQ(pinged_, std::set<std::string>{"m1"});
  EXPECT_EQ(loads_, (std::vector<std::string>{"m1", "m2", "m3"})) << "and the others are read all the same";
}

TEST_F(MembersTest, CreatesUnderWayAndSandboxesCount) {
  std::map<std::string, int> chosen;
  {
    std::vector<Members::Reservation> reserved;
    for (uint64_t i = 0; i < 9; ++i) {
      auto one = members_->Reserve({}, i);
      ASSERT_TRUE(one);
      ++chosen[one->member()];
      reserved.push_back(*std::move(one));
    }
    EXPECT_EQ(chosen, (std::map<std::string, int>{{"m1", 3}, {"m2", 3}, {"m3", 3}}));
    EXPECT_EQ(Of("m1").creating, 3u);
  }
  EXPECT_EQ(Of("m1").creating, 0u);
  EXPECT_EQ(Of("m1").sandboxes, 0u) << "nothing came of them";
  auto made = members_->Reserve({.member = "m1"}, 1);
  ASSERT_TRUE(made);
  made->End(true);
  made->End(true);
  EXPECT_EQ(Of("m1").sandboxes, 1u);
  EXPECT_EQ(Of("m1").creating, 0u);
  members_->SetCounts({{"m3", 2}, {"none", 7}});
  EXPECT_EQ(Of("m1").sandboxes, 0u);
  EXPECT_EQ(Of("m3").sandboxes, 2u);
}

TEST_F(MembersTest, FailuresAreForgotten) {
  for (uint64_t i = 0; i < kFailing; ++i) {
    auto one = members_->Reserve({.member = "m1"}, i);
    ASSERT_TRUE(one);
    one->End(false);
  }
  EXPECT_EQ(Of("m1").failures, kFailing);
  EXPECT_EQ(Of("m1").creating, 0u);
  for (uint64_t seed = 0; seed < 50; ++seed) EXPECT_NE(members_->Reserve({}, seed)->member(), "m1");
  Advance(Members::kRemember + 1s);
  EXPECT_EQ(Of("m1").failures, 0u);
}

TEST_F(MembersTest, WithoutWorkersItIsTriedAgain) {
  post_fails_ = true;
  members_->Suspect("m2", "");
  members_->Refresh();
  Advance(5s);
  EXPECT_TRUE(Down("m2"));
  post_fails_ = false;
  Advance(2s);
  EXPECT_FALSE(Down("m2"));
}

TEST_F(MembersTest, NothingIsCalledAfterItsEnd) {
  silent_ = {"m2"};
  auto reserved = members_->Reserve({}, 1);
  ASSERT_TRUE(reserved);
  members_->Suspect("m2", "");
  Advance(1s);
  members_->Refresh();
  members_.reset();
  const size_t pings = pings_.size();
  const int lists = lists_;
  reserved->End(false);
  Advance(1min);
  EXPECT_EQ(pings_.size(), pings);
  EXPECT_EQ(lists_, lists);
}

// With real threads, and a real member's silence: a ping that hangs as long as it may.
TEST(MembersThreadsTest, ManyAskWhileOneIsSilentAndComesBack) {
  auto reactor = Reactor::Create("members");
  ASSERT_TRUE(reactor);
  std::mutex mutex;
  std::vector<std::thread> workers;
  std::condition_variable wake;
  bool silent = true;
  std::atomic<int> lists = 0, at_once = 0, most = 0;
  std::atomic<bool> stop = false;
  {
    Members members({.list = [&]() -> Result<std::vector<MemberInfo>> {
                       ++lists;
                       return std::vector{Info("m1"), Info("m2")};
                     },
                     .load = [](const std::string&) -> Result<MemberLoad> { return MemberLoad{}; },
                     .ping = [&](const std::string&, Limit limit) -> Status {
                       most = std::max<int>(most, ++at_once);
                       std::unique_lock lock(mutex);
                       const bool answered = wake.wait_for(lock, limit, [&] { return !silent; });
                       --at_once;
                       if (!answered) return Error{CSB_E_DEADLINE, "no answer", "", true};
                       return {};
                     },
                     .post = [&](std::function<void()> work) -> Status {
                       const std::lock_guard lock(mutex);
                       workers.emplace_back(std::move(work));
                       return {};
                     },
                     .after =
                         [&](Limit limit, std::function<void()> fn) {
                           (*reactor)->At(Reactor::Clock::now() + limit, std::move(fn));
                         }});
    std::vector<std::thread> users;
    for (uint64_t i = 0; i < 4; ++i)
      users.emplace_back([&, i] {
        for (uint64_t n = 0; !stop; ++n) {
          members.Suspect("m2", "hangs");
          members.Refresh();
          auto reserved = members.Reserve({}, i * 1000 + n);
          if (reserved) reserved->End(n % 2 == 0);
          if (n % 8 == 0) members.SetCounts({{"m1", n}});
          std::this_thread::yield();
        }
      });
    const auto start = Members::Clock::now();
    bool down = true;  // from the first list on, which comes behind the first suspicion
    while (down && Members::Clock::now() - start < 500ms) down = lists == 0 || members.Down("m2");
    stop = true;
    for (auto& user : users) user.join();
    EXPECT_TRUE(down);
    EXPECT_TRUE(members.Down("m2"));
    {
      const std::lock_guard lock(mutex);
      silent = false;
    }
    wake.notify_all();
    const auto returned = Members::Clock::now();
    while (members.Down("m2")) {
      ASSERT_LE(Members::Clock::now() - returned, 10s);
      std::this_thread::yield();
    }
    EXPECT_EQ(most, 1) << "one ping at a time";
    EXPECT_LE(lists, 3);
  }
  reactor->reset();
  for (auto& worker : workers) worker.join();
}

}  // namespace
}  // namespace csb::incus
