// SPDX-License-Identifier: Apache-2.0
//
// What needs a sandbox that runs already makes none, and finds those of before.
#include <gmock/gmock.h>

#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;

class RunningTest : public ServiceTest {
 protected:
  auto Asked(const std::string& user, uint32_t op = CSB_OP_PROCESS_LIST) {
    auto reply = Ask(*service, op, user, "{}");
    reply->Wait();
    return reply;
  }
  int made() const { return docker->count(CSB_OP_CREATE) + bubblewrap->count(CSB_OP_CREATE); }
};

TEST_F(RunningTest, WithoutASandboxNoneIsMade) {
  Start();
  for (const uint32_t op : {CSB_OP_PROCESS_LIST, CSB_OP_CONTEXT_LIST}) {
    const auto none = Asked("alice", op);
    EXPECT_EQ(none->code, CSB_E_NOT_FOUND);
    EXPECT_NE(none->hint, "");
  }
  EXPECT_EQ(made(), 0);
}

TEST_F(RunningTest, OneThatRunsIsAskedAtOnce) {
  Start();
  ASSERT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Asked("alice")->code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_STATUS), 0);
  EXPECT_EQ(docker->count(CSB_OP_PROCESS_LIST), 1);
}

TEST_F(RunningTest, OneThatOutlivedTheHostIsLookedForFirst) {
  Start();
  ASSERT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  const int before = made();
  Restart();
  EXPECT_EQ(Asked("alice")->code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_PROCESS_LIST), 1);
  EXPECT_EQ(made(), before);
}

TEST_F(RunningTest, OneThatWasStoppedHasNothingToTell) {
  Start();
  ASSERT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().code, CSB_OK);
  const int before = made();
  const auto stopped = Asked("alice");
  EXPECT_EQ(stopped->code, CSB_E_NOT_FOUND) << stopped->message;
  EXPECT_EQ(docker->count(CSB_OP_PROCESS_LIST), 0);
  EXPECT_EQ(made(), before);
  // The next run is not held up by that.
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
}

TEST_F(RunningTest, OneOfAnotherHostIsFound) {
  Start();
  ASSERT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().code, CSB_OK);
  docker->Put("alice", true);
  const auto found = Asked("alice");
  EXPECT_EQ(found->code, CSB_OK) << found->message;
  EXPECT_EQ(docker->count(CSB_OP_STATUS), 1);
  EXPECT_EQ(docker->count(CSB_OP_PROCESS_LIST), 1);
  EXPECT_EQ(docker->most_live(), 1) << "the create that follows joins it";
}

TEST_F(RunningTest, ABackendThatFailsSaysSo) {
  Start();
  ASSERT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().code, CSB_OK);
  docker->Fail(CSB_OP_STATUS, Error{CSB_E_UNAVAILABLE, "Docker daemon not running", "start it", true});
  const auto failed = Asked("alice");
  EXPECT_EQ(failed->code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(failed->message, HasSubstr("not running"));
}

}  // namespace
}  // namespace csb::host
