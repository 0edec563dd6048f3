// SPDX-License-Identifier: Apache-2.0
//
// The real bwrap with the real launcher, a shell in place of the agent.
#include "plugins/bubblewrap/launcher.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>

#include "plugins/bubblewrap/cgroup.h"
#include "plugins/bubblewrap/etc_folder.h"
#include "plugins/bubblewrap/launch/request.h"
#include "plugins/bubblewrap/mounts.h"
#include "plugins/bubblewrap/testing.h"
#include "plugins/bubblewrap/workspace_disk.h"
#include "plugins/common/process.h"
#include "plugins/common/seccomp_program.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string& Seccomp() {
  static const std::string program = *SeccompProgram();
  return program;
}

std::string Launcher() { return LibFolder() + "/clara-sandbox-launch"; }

class Launching : public ::testing::Test {
 protected:
  // Runs a shell command as user code of the sandbox and returns what it wrote to stderr.
  std::string Inside(const std::string& script) {
    auto launched = Launch(Spec(script));
    if (!launched) return "LAUNCH FAILED: " + launched.error().message;
    EXPECT_TRUE(WaitEnd(launched->monitor_fd, std::chrono::seconds(20)));
    return ReadComplaints(launched->complaints.get());
  }

  Result<Launched> Launch(const LaunchSpec& spec) {
    auto slot = LaunchSlot::Start(Launcher(), Seccomp(), cgroup_procs_);
    if (!slot) return slot.error();
    return slot->Go(spec);
  }

  LaunchSpec Spec(const std::string& script) {
    LaunchSpec spec;
    spec.uids = pair_;
    spec.agent = "/usr/bin/true";
    spec.control = folder_ / "ctl";
    spec.workspace = folder_ / "workspace";
    spec.image = image_;
    spec.rlimits = {{RLIMIT_CORE, 0, 0}, {RLIMIT_NPROC, 64, 64}};
    EXPECT_TRUE(MakeFolders(spec.control, 0711));
    if (!Exists(spec.workspace)) {
      EXPECT_TRUE(MakeFolders(spec.workspace, 0700));
      EXPECT_EQ(chown(spec.workspace.c_str(), pair_.user, pair_.user), 0);
    }
    auto etc = MakeEtcFolder(folder_ / "etc", {});
    EXPECT_TRUE(etc);
    spec.etc = etc->folder;
    SandboxView view;
    view.bwrap = "/usr/bin/bwrap";
    view.agent = launch::kStagedAgent;
    view.control = launch::kStagedControl;
    view.etc = launch::kStagedEtc;
    view.workspace = launch::kStagedWorkspace;
    view.separate_uids = true;
    view.tmp_bytes = 4 << 20;
    view.etc_binds = etc->binds;
    // What runs here may be over in no time; it waits until it was looked at.
    view.wait_for_host = true;
    spec.before_command = [](pid_t) { return Status(); };
    spec.command = BwrapCommand(view);
    spec.command.erase(std::find(spec.command.begin(), spec.command.end(), "--") + 1, spec.command.end());
    for (const char* word :
         {"/usr/bin/setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all",
          "--inh-caps=-all", "--ambient-caps=-all", "/bin/sh", "-c"})
      spec.command.push_back(word);
    spec.command.push_back("cd /workspace; exec 1>&2; " + script);
    return spec;
  }

  TemporaryFolder folder_;
  UidPair pair_{1'899'990'000, 1'899'990'001};
  std::string image_;
  std::vector<std::string> cgroup_procs_;
};

TEST_F(Launching, RunsAsAnOwnUidWithNothing) {
  CSB_NEED_ROOT();
  const std::string out =
      Inside("id -u; hostname; pwd; grep -E 'Cap(Eff|Prm|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status");
  EXPECT_THAT(out, HasSubstr("1000 sandbox /workspace"));
  EXPECT_THAT(out, HasSubstr("CapEff: 0000000000000000"));
  EXPECT_THAT(out, HasSubstr("NoNewPrivs: 1"));
  EXPECT_THAT(out, HasSubstr("Seccomp: 2"));
}

TEST_F(Launching, FilesOfTheUserBelongToItsOwnHostUid) {
  CSB_NEED_ROOT();
  EXPECT_EQ(Inside("echo hi > file"), "");
  struct stat info {};
  ASSERT_EQ(stat((folder_ / "workspace/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, pair_.user);
}

TEST_F(Launching, SeesNothingOfTheHost) {
  CSB_NEED_ROOT();
  EXPECT_THAT(Inside("echo $(ls -A /)"), ::testing::AllOf(Not(HasSubstr("home")), Not(HasSubstr("root"))));
  EXPECT_EQ(Inside("echo $(ls -A /var /run /home /root /sys 2>/dev/null)"), "/run: clara /var: tmp");
  EXPECT_THAT(Inside("cat /etc/shadow /etc/machine-id; ls /etc"), Not(HasSubstr("root:$")));
  EXPECT_EQ(Inside("env | grep -v -E '^(PWD|OLDPWD|_|SHLVL)='"), "");
  EXPECT_EQ(Inside("echo $(ls /sys/class/net /proc/sys/net/ipv4/conf 2>/dev/null | sort -u)"),
            "/proc/sys/net/ipv4/conf: all default lo");
}

TEST_F(Launching, SystemFoldersCantBeWritten) {
  CSB_NEED_ROOT();
  EXPECT_EQ(Inside("for f in / /usr /etc /dev /run/clara /var /proc/sys/kernel; do "
                   "if touch $f/x 2>/dev/null; then echo wrote $f; fi; done"),
            "");
  EXPECT_EQ(Inside("touch /tmp/x /dev/shm/x /var/tmp/y && echo fine"), "fine");
}

TEST_F(Launching, TemporaryFilesAreBounded) {
  CSB_NEED_ROOT();
  EXPECT_THAT(Inside("head -c 8M /dev/zero > /tmp/big"), HasSubstr("No space left"));
  EXPECT_THAT(Inside("head -c 8M /dev/zero > /dev/shm/big"), HasSubstr("No space left"));
}

TEST_F(Launching, AnImageBoundsTheWorkspace) {
  CSB_NEED_ROOT();
  if (const std::string why = ImagesPossible(); !why.empty()) GTEST_SKIP() << why;
  image_ = folder_ / "workspace.ext4";
  ASSERT_TRUE(ImageTemplates(folder_ / "templates").Make(image_, 16 << 20));
  EXPECT_EQ(Inside("ls -A; echo kept > note; stat -c %a,%u ."), "700,1000");
  EXPECT_THAT(Inside("cat note; head -c 32M /dev/zero > big"),
              ::testing::AllOf(HasSubstr("kept"), HasSubstr("No space left")));
  EXPECT_EQ(Inside("rm big; head -c 1M /dev/zero > small && echo room"), "room");
}

TEST_F(Launching, AnImageIsNeverMountedTwice) {
  CSB_NEED_ROOT();
  if (const std::string why = ImagesPossible(); !why.empty()) GTEST_SKIP() << why;
  image_ = folder_ / "workspace.ext4";
  ASSERT_TRUE(ImageTemplates(folder_ / "templates").Make(image_, 16 << 20));
  auto first = Launch(Spec("sleep 0.4; echo first >> log"));
  ASSERT_TRUE(first) << first.error().message;
  // Waits for the first one's loop device, then sees what it wrote.
  EXPECT_EQ(Inside("cat log"), "first");
}

TEST_F(Launching, AnImageThatWasNotUnmountedIsMendedFirst) {
  CSB_NEED_ROOT();
  if (const std::string why = ImagesPossible(); !why.empty()) GTEST_SKIP() << why;
  image_ = folder_ / "workspace.ext4";
  ASSERT_TRUE(ImageTemplates(folder_ / "templates").Make(image_, 16 << 20));
  EXPECT_EQ(Inside("echo kept > note"), "");
  // As a power cut leaves it: not clean, and the free counts wrong.
  for (const char* change : {"set_super_value free_blocks_count 7", "set_super_value state 0"})
    ASSERT_EQ(
        system(("/usr/sbin/debugfs -w -R '" + std::string(change) + "' " + image_ + " 2>/dev/null").c_str()),
        0);
  EXPECT_EQ(Inside("cat note; head -c 1M /dev/zero > more && echo room"), "kept room");
}

TEST_F(Launching, JoinsItsGroupsBeforeAnythingRuns) {
  CSB_NEED_ROOT();
  const CgroupParent parent = FindCgroupParent(ReadCgroupView());
  if (!parent.missing.empty()) GTEST_SKIP() << parent.missing;
  auto group = Cgroup::Make(parent, "csb-launcher-test");
  ASSERT_TRUE(group) << group.error().message;
  ASSERT_TRUE(group->SetLimits({.memory = 64 << 20, .cpu = 0.5, .pids = 20}));
  EXPECT_EQ(group->Read().memory_limit, uint64_t{64 << 20});
  EXPECT_EQ(group->Read().cpu_limit, 0.5);
  EXPECT_EQ(group->Read().pids_limit, 20 + kReservedPids);
  cgroup_procs_ = group->ProcsFiles();
  EXPECT_THAT(Inside("/usr/bin/python3 -c \"bytearray(200 << 20)\"; echo status $?"),
              HasSubstr("status 137"));
  const auto oom = ReadSmallFile(group->OomFile());
  ASSERT_TRUE(oom);
  EXPECT_GE(ParseKeyed(*oom, "oom_kill").value_or(0), 1u);
  EXPECT_TRUE(group->Remove());
}

TEST_F(Launching, SaysWhatBwrapSays) {
  CSB_NEED_ROOT();
  LaunchSpec spec = Spec("true");
  spec.command.insert(spec.command.begin() + 1, {"--ro-bind", "/does/not/exist", "/x"});
  const auto launched = Launch(spec);
  // The failure comes either at once or with the end of the monitor; both must name the path.
  if (launched) {
    EXPECT_TRUE(WaitEnd(launched->monitor_fd, std::chrono::seconds(5)));
    EXPECT_THAT(ReadComplaints(launched->complaints.get()), HasSubstr("/does/not/exist"));
  } else {
    EXPECT_THAT(launched.error().message, HasSubstr("/does/not/exist"));
  }
}

TEST_F(Launching, WhatEndsBeforeItMayGoOnSaysWhyToo) {
  CSB_NEED_ROOT();
  for (const bool prepared : {true, false}) {
    LaunchSpec spec = Spec("true");
    spec.command.insert(spec.command.begin() + 1, {"--ro-bind", "/does/not/exist", "/x"});
    spec.before_command = [&](pid_t init) {
      const auto process = Pidfd::Open(init);
      EXPECT_TRUE(!process || WaitEnd(*process, std::chrono::seconds(20)));
      return prepared ? Status() : Status(Error{CSB_E_UNAVAILABLE, "no such process", "", false});
    };
    const auto launched = Launch(spec);
    ASSERT_FALSE(launched);
    EXPECT_THAT(launched.error().message, HasSubstr("/does/not/exist"));
  }
}

TEST_F(Launching, AnUnusedLauncherEndsWithItsSlot) {
  {
    auto slot = LaunchSlot::Start(Launcher(), Seccomp(), {});
    ASSERT_TRUE(slot);
  }
  // Reaped: this process has no child left.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(Launching, AGroupThatIsGoneIsNamed) {
  auto slot = LaunchSlot::Start(Launcher(), Seccomp(), {"/sys/fs/cgroup/nonexistent/cgroup.procs"});
  ASSERT_TRUE(slot);
  const auto launched = slot->Go({});
  ASSERT_FALSE(launched);
  EXPECT_THAT(launched.error().message, HasSubstr("/sys/fs/cgroup/nonexistent"));
}

TEST_F(Launching, AMissingLauncherIsNamed) {
  const auto launched = LaunchSlot::Start("/nonexistent/clara-sandbox-launch", Seccomp(), {});
  ASSERT_FALSE(launched);
  EXPECT_THAT(launched.error().message, HasSubstr("/nonexistent/clara-sandbox-launch"));
  EXPECT_THAT(launched.error().hint, HasSubstr("bubblewrap.launcher"));
}

}  // namespace
}  // namespace csb::bwrap
