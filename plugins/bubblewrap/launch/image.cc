// SPDX-License-Identifier: Apache-2.0
//
// The workspace's file system: an ext4 image on a loop device (loop(4)). The device detaches itself
// when the mount goes, and the mount goes with the sandbox's mount namespaces: nothing is left over
// when every process is killed. The lock on the image's open file is held by the loop device, so two
// kernels' worth of caches never meet on one image.
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>

#include "plugins/bubblewrap/launch/request.h"
#include "plugins/bubblewrap/launch/steps.h"

extern char** environ;

namespace csb::bwrap::launch {
namespace {

constexpr unsigned kLoopMajor = 7;
constexpr unsigned kLockSeconds = 10;
// ext4's superblock: at byte 1024, s_state at 58, bit 0 set when it was unmounted cleanly.
constexpr off_t kStateAt = 1024 + 58;

void LockImage(int fd, const std::string& image) {
  // An earlier sandbox of this user may be on its way out; its loop device then lets go soon.
  alarm(kLockSeconds);
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: flock returns EINTR
  sigaction(SIGALRM, &action, nullptr);
  if (flock(fd, LOCK_EX) != 0) {
    if (errno == EINTR) FailPlain(image + " is still mounted elsewhere; an earlier sandbox has not ended");
    Fail("flock " + image);
  }
  alarm(0);
}

// Without a journal a file system that was in use when the machine stopped has to be checked.
void CheckImage(int fd, const std::string& image) {
  uint16_t state = 0;
  if (pread(fd, &state, sizeof state, kStateAt) != sizeof state) Fail("read " + image);
  if ((state & 1) != 0) return;
  // By descriptor: the stage may hide the path.
  std::string program = "e2fsck", option = "-fp";
  std::string file = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd);
  char* argv[] = {program.data(), option.data(), file.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
  errno = posix_spawnp(&child, program.c_str(), &actions, nullptr, argv, environ);
  if (errno != 0) Fail("run e2fsck on " + image);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  // 1: errors were corrected.
  if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
    FailPlain("e2fsck could not mend " + image + "; run it by hand, or purge the sandbox");
}

int OpenLoop(long number) {
  const std::string path = "/dev/loop" + std::to_string(number);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0 || errno != ENOENT) return fd;
  // A /dev that the kernel does not fill (a container): make the node where nobody else sees it.
  const std::string node = std::string(kStage) + "/loop";
  unlink(node.c_str());
  if (mknod(node.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, static_cast<unsigned>(number))) != 0) return -1;
  fd = open(node.c_str(), O_RDWR | O_CLOEXEC);
  const int saved = errno;
  unlink(node.c_str());
  errno = saved;
  return fd;
}

int AttachLoop(int image_fd, const std::string& image, std::string* device) {
  const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control < 0) Fail("open /dev/loop-control");
  loop_config config{};
  config.fd = static_cast<uint32_t>(image_fd);
  config.block_size = 4096;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  // Others take devices at the same time: a free one may be taken when it is opened.
  for (int tries = 0; tries < 1000; ++tries) {
    const int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) Fail("LOOP_CTL_GET_FREE");
    const int loop = OpenLoop(number);
    if (loop < 0 && errno == ENXIO) continue;
    if (loop < 0) Fail("open /dev/loop" + std::to_string(number));
    if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
      *device = "/proc/self/fd/" + std::to_string(loop);
      close(control);
      return loop;
    }
    if (errno != EBUSY) Fail("LOOP_CONFIGURE " + image);
    close(loop);
  }
  FailPlain("no loop device stays free long enough");
}

}  // namespace

void MountImage(int fd, const std::string& image, const std::string& folder, unsigned owner) {
  LockImage(fd, image);
  CheckImage(fd, image);
  std::string device;
  const int loop = AttachLoop(fd, image, &device);
  if (mount(device.c_str(), folder.c_str(), "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME,
            "noinit_itable,discard,errors=remount-ro") != 0)
    Fail("mount " + image);
  close(loop);
  struct stat root {};
  if (stat(folder.c_str(), &root) != 0) Fail("stat " + folder);
  if (root.st_uid == owner) return;
  // Fresh: nobody has written here yet.
  rmdir((folder + "/lost+found").c_str());
  if (chown(folder.c_str(), owner, owner) != 0) Fail("chown " + folder);
  if (chmod(folder.c_str(), 0700) != 0) Fail("chmod " + folder);
}

}  // namespace csb::bwrap::launch
