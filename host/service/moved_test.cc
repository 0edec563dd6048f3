// SPDX-License-Identifier: Apache-2.0
//
// A host that runs while another process moves its users (host/move): it keeps its hands off meanwhile,
// notices afterwards, and never serves the old copy.
#include <gmock/gmock.h>

#include "clara_sandbox/cpp/identity.h"
#include "host/service/record.h"
#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;

class MovedTest : public ServiceTest {
 protected:
  MovedTest() : records(options.state_dir, [](const std::string&) {}) {}

  // What the other process does: ends the sandbox, copies, notes where the files are.
  void Moved(const std::string& user, FakeBackend& from, FakeBackend& to, const std::string& to_name) {
    from.Lose(user);
    to.Put(user, false);
    const std::string from_name = to_name == "docker" ? "bubblewrap" : "docker";
    ASSERT_TRUE(records.Update(user, [&](UserRecord& r) {
      r.backend = to_name;
      r.moved_from = from_name;
      r.moving_to.clear();
    }));
  }
  void OnDocker(const std::string& user) {
    ASSERT_EQ(Shell(*service, user)->Wait().code, CSB_OK);
    ASSERT_TRUE(docker->Live(user));
    ASSERT_TRUE(Eventually([&] { return records.Load(user).has_value(); }));
  }
  UserRecord Record(const std::string& user) { return records.Load(user).value_or(UserRecord{}); }

  RecordStore records;
};

TEST_F(MovedTest, ARunningHostNoticesThatItsUserWasMoved) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  EXPECT_FALSE(docker->Live("alice"));
  EXPECT_TRUE(services->Logged("was moved to backend bubblewrap"));
  // What the host writes later of its counts leaves the placement as it is.
  ASSERT_TRUE(Eventually([&] { return Record("alice").execution_count == 2; }));
  EXPECT_EQ(Record("alice").backend, "bubblewrap");
  EXPECT_EQ(Record("alice").moved_from, "docker");
}

TEST_F(MovedTest, EachOperationGoesToTheNewBackend) {
  for (uint32_t op : {CSB_OP_CREATE, CSB_OP_STATUS, CSB_OP_RESTART, CSB_OP_STOP, CSB_OP_DESTROY}) {
    Make();
    Start();
    const std::string user = "u" + std::to_string(op);
    OnDocker(user);
    const int before = docker->count(op);
    Moved(user, *docker, *bubblewrap, "bubblewrap");
    EXPECT_EQ(Ask(*service, op, user)->Wait().code, CSB_OK) << op;
    EXPECT_EQ(bubblewrap->count(op), 1) << op;
    EXPECT_EQ(docker->count(op), before) << op;
    service.reset();
    docker.reset();
    bubblewrap.reset();
  }
}

TEST_F(MovedTest, WhileAUserIsMovedNobodyGetsAtTheSandbox) {
  Start();
  OnDocker("alice");
  {
    auto lock = records.LockMove("alice");
    ASSERT_TRUE(lock);
    const int before = docker->count(CSB_OP_SHELL);
    // The mover has a sandbox of its own there, which would answer.
    auto reply = Shell(*service, "alice");
    EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
    EXPECT_TRUE(reply->retryable);
    EXPECT_THAT(reply->message, HasSubstr("are being moved"));
    for (uint32_t op : {CSB_OP_CREATE, CSB_OP_STOP, CSB_OP_RESTART, CSB_OP_DESTROY})
      EXPECT_EQ(Ask(*service, op, "alice")->Wait().code, CSB_E_UNAVAILABLE) << op;
    EXPECT_EQ(docker->count(CSB_OP_SHELL), before);
    EXPECT_EQ(docker->count(CSB_OP_STOP) + docker->count(CSB_OP_DESTROY), 0);
    EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK) << "the others are served";
  }
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK) << "it came to nothing";
  EXPECT_TRUE(docker->Live("alice"));
}

TEST_F(MovedTest, AnIdleHostDoesNotStopTheMoversSandbox) {
  Make("0.2");
  Start();
  OnDocker("alice");
  auto lock = records.LockMove("alice");
  ASSERT_TRUE(lock);
  ASSERT_TRUE(Eventually([&] { return active() == 0; }));
  EXPECT_EQ(docker->count(CSB_OP_STOP), 0);
  EXPECT_TRUE(docker->Live("alice"));
}

TEST_F(MovedTest, AMoveThatBeginsDuringACreateWins) {
  Start();
  docker->Hold(CSB_OP_CREATE);
  ASSERT_TRUE(records.Save({.user = "alice", .backend = "docker"}));
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  {
    auto lock = records.LockMove("alice");
    ASSERT_TRUE(lock);
    docker->Release(CSB_OP_CREATE);
    EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
    EXPECT_EQ(docker->count(CSB_OP_STOP), 0) << "it may be the mover's by now";
  }
}

TEST_F(MovedTest, AMoveThatEndsDuringACreateWins) {
  Start();
  docker->Hold(CSB_OP_CREATE);
  ASSERT_TRUE(records.Save({.user = "alice", .backend = "docker"}));
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 0);
  EXPECT_FALSE(docker->Live("alice")) << "it was stopped again";
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
}

// ---- the old copy ----

TEST_F(MovedTest, AnOldCopyIsNotAdoptedWhateverTheEngineLists) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  docker->Put("alice", true);  // it even runs
  bubblewrap->Fail(CSB_OP_LIST, Error{CSB_E_UNAVAILABLE, "slow", "", true});
  Restart();
  ASSERT_TRUE(services->Logged("backend docker has 1 sandboxes"));
  EXPECT_EQ(active(), 0);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 1) << "the one before the move";
}

TEST_F(MovedTest, AnOldCopyDoesNotWinThoughTheNewBackendKnowsNothing) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  Restart();
  bubblewrap->SetAvailable(false, "bwrap is missing");
  Restart();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("files are on backend bubblewrap"));
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 1);
}

TEST_F(MovedTest, ACopyThatIsNotWholeIsNotAdopted) {
  Make();
  bubblewrap->Put("alice", true);
  docker->Put("alice", false);
  ASSERT_TRUE(records.Update("alice", [](UserRecord& r) {
    r.backend = "docker";
    r.moving_to = "bubblewrap";
  }));
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(docker->Live("alice"));
  EXPECT_EQ(bubblewrap->count(CSB_OP_SHELL), 0);
}

TEST_F(MovedTest, TheListSaysWhichIsTheOldCopy) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  const auto list = Json(Ask(*service, CSB_OP_LIST, "")->Wait().result);
  std::map<std::string, bool> old;
  for (const auto& info : json::Find(list, "sandboxes")->GetArray())
    old[std::string(*json::GetString(info, "backend"))] = json::GetBool(info, "old_copy").value_or(false);
  EXPECT_EQ(old, (std::map<std::string, bool>{{"docker", true}, {"bubblewrap", false}}));
}

TEST_F(MovedTest, APurgeRemovesOldCopiesToo) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice", R"({"purge":true})")->Wait().code, CSB_OK);
  EXPECT_FALSE(docker->Has("alice"));
  EXPECT_FALSE(bubblewrap->Has("alice"));
  ASSERT_TRUE(Eventually([&] { return !records.Load("alice"); }));
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(docker->Live("alice")) << "a new user again";
}

TEST_F(MovedTest, APurgeThatCannotRemoveAnOldCopyRemovesNothing) {
  Start();
  OnDocker("alice");
  Moved("alice", *docker, *bubblewrap, "bubblewrap");
  docker->Fail(CSB_OP_DESTROY, Error{CSB_E_UNAVAILABLE, "connection refused", "", true});
  auto reply = Ask(*service, CSB_OP_DESTROY, "alice", R"({"purge":true})");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("an old copy of the user's files is on backend docker"));
  EXPECT_TRUE(bubblewrap->Has("alice"));
  EXPECT_EQ(Record("alice").moved_from, "docker");
  docker->Fail(CSB_OP_DESTROY, std::nullopt);
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().code, CSB_OK)
      << "files stay: no copy is in the way";
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice", R"({"purge":true})")->Wait().code, CSB_OK);
  EXPECT_FALSE(docker->Has("alice") || bubblewrap->Has("alice"));
}

}  // namespace
}  // namespace csb::host
