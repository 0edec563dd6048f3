// SPDX-License-Identifier: Apache-2.0
#include "host/move/mover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "clara_sandbox/cpp/identity.h"
#include "host/move/programs.h"
#include "host/move/testing/folder_backend.h"

namespace csb::host {
namespace {

using testing::HasSubstr;
using testing::Not;

// Odd names, closed folders, links, times, holes: whatever a workspace may have.
constexpr char kFill[] = R"py(
import os
R = b"/workspace/"
def put(name, data=b"", mode=0o644, when=1_600_000_000_123_456_789):
    with open(R + name, "wb") as f:
        f.write(data)
    os.chmod(R + name, mode)
    os.utime(R + name, ns=(when, when))
for d in (b"empty", b"deep/er/still", b".hidden", b"closed/inner", b"readonly"):
    os.makedirs(R + d)
put(b"plain.txt", b"hello\n")
put(b"empty.txt")
put(b".dot", b"x", 0o600)
put(b"program.sh", b"#!/bin/sh\n", 0o755)
put(b"sticky", b"s", 0o1644)
put(b"writeonly", b"nobody reads this", 0o200)
put(b"nothing", b"nor this", 0)
put("snow \u2603 man".encode(), b"utf-8")
put(b"not utf-8 \xff\xfe", b"bytes")
put(b"new\nline and 'quotes\" \\ %s {}", b"odd")
put(b"-rf", b"minus")
put(b"json.py", b"raise SystemExit('a module of the user was imported')")
put(b"deep/er/still/file", b"deep", 0o440, 1)
put(b".hidden/x", b"hidden", 0o400)
put(b"closed/secret", b"behind a closed door")
put(b"closed/inner/\xffmore", b"further in", 0)
put(b"readonly/r", b"r")
put(b"old", b"old", when=-1_000_000_000)
block = bytes(range(256)) * 4096
put(b"big", block * 20 + b"tail")
with open(R + b"holes", "wb") as f:
    f.write(b"begin")
    f.seek(40 << 20)
    f.write(b"middle")
    f.truncate(90 << 20)
os.link(R + b"plain.txt", R + b"zz second name")
os.link(R + b"big", R + b"a first name of big")
os.symlink(b"plain.txt", R + b"link")
os.symlink(b"/nowhere/\xff", R + b"broken")
os.symlink(b"../../etc", R + b"deep/up")
os.mkfifo(R + b"pipe", 0o600)
os.chmod(R + b"pipe", 0o622)
for i in range(300):
    put(b"empty/%d" % i, b"%d" % i)
os.chmod(R + b"readonly", 0o500)
os.chmod(R + b"closed/inner", 0o300)
os.chmod(R + b"closed", 0)
os.utime(R + b"deep", ns=(1_500_000_000_000_000_000, 1_500_000_000_000_000_000))
)py";

class MoverTest : public testing::Test {
 protected:
  MoverTest() {
    std::string folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : testing::TempDir();
    folder += "csb-move-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << folder;
    std::filesystem::permissions(folder, std::filesystem::perms(0755));
    root_ = folder;
    records_ =
        std::make_unique<RecordStore>(root_ + "/state", [](std::string line) { ADD_FAILURE() << line; });
    docker_ = std::make_unique<FolderBackend>("docker", root_, services_);
    bubblewrap_ = std::make_unique<FolderBackend>("bubblewrap", root_, services_);
  }
  ~MoverTest() override {
    docker_.reset();
    bubblewrap_.reset();
    timers_.Stop();
    std::error_code ec;
    std::filesystem::remove_all(root_, ec);
  }

  // Alice has files on docker.
  void Fill(const std::string& code = kFill) {
    docker_->Start("alice");
    docker_->Python("alice", code);
    Ended(*docker_);
    ASSERT_TRUE(records_->Save({.user = "alice", .backend = "docker", .execution_count = 7}));
  }
  void Ended(FolderBackend& backend) {
    Stopper stopper;
    ASSERT_TRUE(Endpoint(*backend.instance(), timers_, "alice", stopper).Stop());
  }
  Mover Make(MoveOptions options = {}) {
    return {*records_,
            {docker_->instance(), bubblewrap_->instance()},
            timers_,
            std::move(options),
            [this](const std::string& line) { said_.push_back(line); }};
  }
  UserRecord Record() { return records_->Load("alice").value_or(UserRecord{}); }

  std::string root_;
  ManyWorkers services_;
  Timers timers_;
  std::unique_ptr<RecordStore> records_;
  std::unique_ptr<FolderBackend> docker_, bubblewrap_;
  std::vector<std::string> said_;
};

TEST_F(MoverTest, CarriesEverything) {
  Fill();
  const std::string before = docker_->Tree("alice");
  ASSERT_THAT(before, HasSubstr("closed/inner/"));
  Mover mover = Make();
  const auto moved = mover.Move("alice", "bubblewrap");
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->from, "docker");
  EXPECT_EQ(moved->notes, std::vector<std::string>{});
  EXPECT_EQ(bubblewrap_->Tree("alice"), before);
  EXPECT_EQ(docker_->Tree("alice"), before) << "the old copy is kept as it was";
  EXPECT_FALSE(docker_->Running("alice") || bubblewrap_->Running("alice"));
  const UserRecord record = Record();
  EXPECT_EQ(record.backend, "bubblewrap");
  EXPECT_EQ(record.moved_from, "docker");
  EXPECT_EQ(record.moving_to, "");
  EXPECT_EQ(record.execution_count, 7u);

  const auto confirmed = mover.Confirm("alice");
  ASSERT_TRUE(confirmed) << confirmed.error().message;
  EXPECT_EQ(*confirmed, "docker");
  EXPECT_FALSE(docker_->Has("alice"));
  EXPECT_EQ(Record().moved_from, "");
  EXPECT_EQ(mover.Confirm("alice").error().code, CSB_E_INVALID);

  ASSERT_TRUE(mover.Move("alice", "docker"));
  EXPECT_EQ(docker_->Tree("alice"), before) << "and back";
}

TEST_F(MoverTest, AnEmptyWorkspaceMovesToo) {
  Fill("");
  ASSERT_TRUE(Make().Move("alice", "bubblewrap"));
  EXPECT_EQ(bubblewrap_->Tree("alice"), "");
  EXPECT_EQ(Record().backend, "bubblewrap");
}

TEST_F(MoverTest, ManyFilesComeInParts) {
  Fill(R"py(
import os
for d in range(40):
    os.mkdir("/workspace/%02d" % d)
    for i in range(100):
        open("/workspace/%02d/%s" % (d, "n" * 60 + str(i)), "w").write(str(i))
)py");
  const std::string before = docker_->Tree("alice");
  const auto moved = Make().Move("alice", "bubblewrap");
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->files, 4000u);
  EXPECT_GT(std::count_if(said_.begin(), said_.end(), [](const auto& s) { return s.ends_with(" MiB"); }), 2);
  EXPECT_EQ(bubblewrap_->Tree("alice"), before);
}

// ---- what goes wrong ----

// Every operation at either backend fails once, in turn: alice keeps her files, and nothing of the copy
// stays.
TEST_F(MoverTest, WhereverItFailsNothingIsLostAndNothingStays) {
  Fill(R"py(
import os
os.mkdir("/workspace/d")
for i in range(3):
    open("/workspace/d/%d" % i, "w").write(str(i))
open(b"/workspace/\xff", "w").write("odd")
)py");
  const std::string before = docker_->Tree("alice");
  int failures = 0;
  for (FolderBackend* bad : {docker_.get(), bubblewrap_.get()})
    for (int n = 1;; ++n) {
      std::atomic<int> left{n};
      bad->Before([&](uint32_t op, const std::string&) -> std::optional<Error> {
        // Clearing up may work: what happens when it does not is another test's.
        if (op == CSB_OP_DESTROY || op == CSB_OP_STOP || --left != 0) return std::nullopt;
        return Error{n % 2 == 0 ? CSB_E_NO_SPACE : CSB_E_GONE, "injected", "", false};
      });
      const auto moved = Make().Move("alice", "bubblewrap");
      bad->Before(nullptr);
      if (moved) {  // all was tried, or it did not matter
        ASSERT_EQ(bubblewrap_->Tree("alice"), before);
        ASSERT_EQ(docker_->Tree("alice"), before);
        if (left.load() > 0 && bad == bubblewrap_.get()) break;
        ASSERT_TRUE(Make().Undo("alice"));
        ASSERT_TRUE(records_->Update("alice", [](UserRecord& r) { r.moved_from.clear(); }));
        Stopper stopper;
        ASSERT_TRUE(Endpoint(*bubblewrap_->instance(), timers_, "alice", stopper).Purge());
        if (left.load() > 0) break;
        continue;
      }
      ++failures;
      ASSERT_LT(n, 200);
      ASSERT_EQ(docker_->Tree("alice"), before) << bad->name() << " " << n << " " << moved.error().message;
      ASSERT_EQ(Record().backend, "docker");
      ASSERT_EQ(Record().moving_to, "");
      ASSERT_EQ(Record().moved_from, "");
      ASSERT_FALSE(docker_->Running("alice"));
      if (bubblewrap_->Has("alice")) {
        // A first create or look inside that failed may leave an empty one, never files.
        ASSERT_EQ(bubblewrap_->Tree("alice"), "") << n;
        Stopper stopper;
        ASSERT_TRUE(Endpoint(*bubblewrap_->instance(), timers_, "alice", stopper).Purge());
      }
    }
  EXPECT_GT(failures, 15);
  EXPECT_EQ(bubblewrap_->Tree("alice"), before);
}

TEST_F(MoverTest, AMoveThatWasCutOffIsClearedUpByTheNext) {
  Fill("open('/workspace/a', 'w').write('a')");
  std::atomic<bool> dead{false};
  bubblewrap_->Before([&](uint32_t op, const std::string&) -> std::optional<Error> {
    if (op == CSB_OP_FILE_WRITE) dead = true;
    if (dead) return Error{CSB_E_UNAVAILABLE, "connection refused", "", true};
    return std::nullopt;
  });
  const auto moved = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(moved);
  EXPECT_THAT(moved.error().message, HasSubstr("the copy that is not whole is still on bubblewrap"));
  EXPECT_EQ(Record().backend, "docker");
  EXPECT_EQ(Record().moving_to, "bubblewrap");
  EXPECT_TRUE(bubblewrap_->Has("alice"));
  bubblewrap_->Before(nullptr);
  ASSERT_TRUE(Make().Move("alice", "bubblewrap"));
  EXPECT_EQ(bubblewrap_->Tree("alice"), docker_->Tree("alice"));
  EXPECT_EQ(Record().moving_to, "");
}

// Folders that keep their owner out are open while they are read, and a program can be killed just then.
TEST_F(MoverTest, WhatAKilledReaderLeftOpenIsClosedByTheNext) {
  Fill();
  const std::string before = docker_->Tree("alice");
  const std::string killed =
      "import os, stat\nreal = os.listdir\n"
      "def listdir(path):\n"
      "  if path.endswith(b'closed/inner'):\n"
      "    up = os.path.dirname(path)\n"
      "    print([oct(stat.S_IMODE(os.stat(p).st_mode)) for p in (up, path)], flush=True)\n"
      "    os._exit(0)\n"
      "  return real(path)\n"
      "os.listdir = listdir\n" +
      ScanProgram({});
  for (const bool move : {false, true}) {
    docker_->Start("alice");
    EXPECT_EQ(docker_->Python("alice", killed), "['0o700', '0o700']\n");
    EXPECT_NE(docker_->Tree("alice"), before);
    if (move) {
      Ended(*docker_);
      ASSERT_TRUE(Make().Move("alice", "bubblewrap"));
      EXPECT_EQ(bubblewrap_->Tree("alice"), before);
    } else {
      docker_->Python("alice", CleanProgram());
    }
    EXPECT_EQ(docker_->Tree("alice"), before);
  }
}

TEST_F(MoverTest, ANoteThatTheUserMadeStopsNothing) {
  for (const std::string note : {R"py(open(P, 'w').write('[["../../x", 7], ["a\\u0000b", 7]]'))py",
                                 R"py(open(P, 'w').write('[' * 100000))py", "os.mkfifo(P)"}) {
    SCOPED_TRACE(note);
    docker_->Start("alice");
    docker_->Python("alice", "import os\nP = '" + std::string(kStage) +
                                 "/opened'\nos.makedirs(os.path.dirname(P))\n" + note);
    const std::string out = docker_->Python("alice", CleanProgram());
    EXPECT_EQ(out, "");
    EXPECT_THAT(docker_->Tree("alice"), Not(HasSubstr("opened")));
  }
}

TEST_F(MoverTest, WhatArrivesAlteredIsNoticed) {
  Fill();
  bubblewrap_->SpoilWrites(true);
  const auto moved = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(moved);
  EXPECT_THAT(moved.error().message, HasSubstr("what arrived is not what was sent"));
  EXPECT_EQ(Record().backend, "docker");
  EXPECT_FALSE(bubblewrap_->Has("alice"));
}

TEST_F(MoverTest, AFileThatChangesMeanwhileIsNoticed) {
  Fill("open('/workspace/a', 'w').write('a'); open('/workspace/b', 'w').write('b')");
  std::atomic<int> reads{0};
  docker_->Before([&](uint32_t op, const std::string&) -> std::optional<Error> {
    if (op == CSB_OP_FILE_READ && ++reads == 1)
      docker_->Python("alice", "open('/workspace/late', 'w').write('!')");
    return std::nullopt;
  });
  const auto moved = Make().Move("alice", "bubblewrap");
  docker_->Before(nullptr);
  ASSERT_FALSE(moved);
  EXPECT_THAT(moved.error().message, HasSubstr("changed while they were moved"));
  EXPECT_EQ(Record().backend, "docker");
  EXPECT_FALSE(bubblewrap_->Has("alice"));
  ASSERT_TRUE(Make().Move("alice", "bubblewrap"));
  EXPECT_THAT(bubblewrap_->Tree("alice"), HasSubstr("late"));
}

TEST_F(MoverTest, CanBeStoppedInTheMiddle) {
  Fill();
  const std::string before = docker_->Tree("alice");
  Mover mover = Make();
  bubblewrap_->Before([&](uint32_t op, const std::string&) -> std::optional<Error> {
    if (op == CSB_OP_FILE_WRITE) mover.Stop();
    return std::nullopt;
  });
  const auto moved = mover.Move("alice", "bubblewrap");
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, CSB_E_CANCELLED) << moved.error().message;
  EXPECT_EQ(docker_->Tree("alice"), before);
  EXPECT_EQ(Record().backend, "docker");
  EXPECT_EQ(Record().moving_to, "");
  EXPECT_FALSE(bubblewrap_->Has("alice"));
}

// ---- what is refused ----

TEST_F(MoverTest, RefusesWhatMakesNoSense) {
  Fill("");
  EXPECT_EQ(Make().Move("alice", "docker").error().message, "the user's files are on docker already");
  EXPECT_THAT(Make().Move("alice", "incus").error().message, HasSubstr("incus is not loaded"));
  EXPECT_THAT(Make().Move("bob", "docker").error().message, HasSubstr("no backend has files"));
  EXPECT_EQ(Make().Undo("alice").error().code, CSB_E_INVALID);
  EXPECT_EQ(Make().Forget("alice").error().code, CSB_E_INVALID);
  EXPECT_EQ(Record().backend, "docker");
}

TEST_F(MoverTest, ARunningSandboxIsEndedOnlyWhenThatIsSaid) {
  Fill("");
  docker_->Start("alice");
  const auto refused = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(refused.error().hint, HasSubstr("--stop"));
  EXPECT_TRUE(docker_->Running("alice"));
  EXPECT_FALSE(bubblewrap_->Has("alice"));
  EXPECT_TRUE(Make({.stop = true}).Move("alice", "bubblewrap"));
}

TEST_F(MoverTest, FilesOnTheTargetAreOverwrittenOnlyWhenThatIsSaid) {
  Fill("open('/workspace/a', 'w').write('mine')");
  bubblewrap_->Start("alice");
  bubblewrap_->Python("alice", "open('/workspace/other', 'w').write('precious')");
  Ended(*bubblewrap_);
  const auto refused = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(bubblewrap_->Tree("alice"), HasSubstr("other"));
  ASSERT_TRUE(Make({.overwrite = true}).Move("alice", "bubblewrap"));
  EXPECT_EQ(bubblewrap_->Tree("alice"), docker_->Tree("alice"));
}

// As a service elsewhere does, which says that there is no sandbox though there are files.
TEST_F(MoverTest, FilesThatShowOnlyInsideAreNotTouchedEither) {
  Fill("open('/workspace/a', 'w').write('mine')");
  bubblewrap_->Start("alice");
  bubblewrap_->Python("alice", "open('/workspace/other', 'w').write('precious')");
  Ended(*bubblewrap_);
  bubblewrap_->Before([](uint32_t op, const std::string&) -> std::optional<Error> {
    if (op != CSB_OP_STATUS) return std::nullopt;
    return Error{CSB_E_NOT_FOUND, "no sandbox", "", false};
  });
  const auto refused = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("there are files already, as "));
  EXPECT_THAT(bubblewrap_->Tree("alice"), HasSubstr("other"));
  EXPECT_EQ(Record().backend, "docker");
  ASSERT_TRUE(Make({.overwrite = true}).Move("alice", "bubblewrap"));
  EXPECT_EQ(bubblewrap_->Tree("alice"), docker_->Tree("alice"));
}

TEST_F(MoverTest, ATargetWithoutWhatIsRequiredIsRefused) {
  Fill("open('/workspace/a', 'w').write('mine')");
  bubblewrap_->SetNetwork("bridge");
  const auto refused = Make({.required = {"network-none"}}).Move("alice", "bubblewrap");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("does not guarantee network-none"));
  EXPECT_EQ(Record().backend, "docker");
}

TEST_F(MoverTest, OneMoveOfAUserAtATime) {
  Fill("");
  {
    auto lock = records_->LockMove("alice");
    ASSERT_TRUE(lock);
    EXPECT_TRUE(records_->Moving(EngineName("alice")));
    EXPECT_FALSE(records_->Moving(EngineName("bob")));
    EXPECT_EQ(Make().Move("alice", "bubblewrap").error().code, CSB_E_CONFLICT);
  }
  EXPECT_FALSE(records_->Moving(EngineName("alice")));
  EXPECT_TRUE(Make().Move("alice", "bubblewrap"));
  EXPECT_FALSE(records_->Moving(EngineName("alice")));
}

TEST_F(MoverTest, AMoverThatWasKilledKeepsNobodyOut) {
  std::filesystem::create_directories(root_ + "/state/moving");
  std::ofstream(root_ + "/state/moving/" + EngineName("alice")) << "";
  EXPECT_FALSE(records_->Moving(EngineName("alice")));
  EXPECT_TRUE(records_->LockMove("alice"));
}

// ---- a backend that is gone ----

TEST_F(MoverTest, WithoutTheSourceOnlyAnEmptyWorkspaceIsLeftAndOnlyWhenThatIsSaid) {
  Fill("open('/workspace/a', 'w').write('a')");
  EXPECT_THAT(Make({.without_files = true}).Move("alice", "bubblewrap").error().message,
              HasSubstr("docker answers, so that the files can be carried over"));
  docker_->SetAvailable(false);
  const auto refused = Make().Move("alice", "bubblewrap");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(refused.error().message, HasSubstr("daemon not running"));
  EXPECT_THAT(refused.error().hint, HasSubstr("--without-files"));
  EXPECT_EQ(Record().backend, "docker");
  ASSERT_TRUE(Make({.without_files = true}).Move("alice", "bubblewrap"));
  EXPECT_EQ(Record().backend, "bubblewrap");
  EXPECT_EQ(Record().moved_from, "docker");
  EXPECT_FALSE(bubblewrap_->Has("alice"));
  // It is back: nothing was lost.
  docker_->SetAvailable(true);
  EXPECT_EQ(Make().Confirm("alice").error().code, CSB_E_CONFLICT) << "the only copy there is";
  ASSERT_TRUE(Make().Undo("alice"));
  EXPECT_EQ(Record().backend, "docker");
  EXPECT_THAT(docker_->Tree("alice"), HasSubstr("/a"));
}

TEST_F(MoverTest, AnOldCopyOfABackendThatIsGoneCanBeForgotten) {
  Fill("open('/workspace/a', 'w').write('a')");
  ASSERT_TRUE(Make().Move("alice", "bubblewrap"));
  docker_->SetAvailable(false);
  const auto confirmed = Make().Confirm("alice");
  ASSERT_FALSE(confirmed);
  EXPECT_THAT(confirmed.error().hint, HasSubstr("--forget"));
  EXPECT_EQ(Record().moved_from, "docker");
  EXPECT_EQ(Make().Move("alice", "docker").error().code, CSB_E_CONFLICT);
  ASSERT_TRUE(Make().Forget("alice"));
  EXPECT_EQ(Record().moved_from, "");
}

TEST_F(MoverTest, AUserWithoutARecordIsFoundByTheEngines) {
  Fill("open('/workspace/a', 'w').write('a')");
  ASSERT_TRUE(records_->Remove("alice"));
  const auto moved = Make().Move("alice", "bubblewrap");
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->from, "docker");
  EXPECT_EQ(Record().moved_from, "docker");
}

}  // namespace
}  // namespace csb::host
