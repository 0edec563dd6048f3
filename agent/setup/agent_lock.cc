// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/agent_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace csb::agent {
namespace {

std::string LockPath(const std::string& folder) { return folder + "/agent.lock"; }

struct flock WholeFile() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

Error Failed(const std::string& what) {
  const int error = errno;
  return {CSB_E_IO, what + ": " + strerror(error), "", false};
}

}  // namespace

Result<AgentLock> TakeAgentLock(const std::string& folder) {
  const std::string path = LockPath(folder);
  AgentLock taken;
  taken.file.Reset(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!taken.file) return Failed("cannot make " + path);
  // A record lock: unlike flock(2)'s it belongs to this process and not to every fork with the descriptor,
  // and it tells its owner.
  for (int tries = 0; tries < 100; ++tries) {
    struct flock lock = WholeFile();
    if (fcntl(taken.file.get(), F_SETLK, &lock) == 0) return taken;
    if (errno != EACCES && errno != EAGAIN) return Failed("cannot lock " + path);
    if (fcntl(taken.file.get(), F_GETLK, &lock) < 0) return Failed("cannot look at the lock of " + path);
    if (lock.l_type == F_UNLCK) continue;  // it ended in between
    taken.ours = false;
    taken.holder = lock.l_pid;
    return taken;
  }
  return Error{CSB_E_UNAVAILABLE, path + " is locked and let go of again and again", "", true};
}

pid_t AgentLockHolder(const std::string& folder) {
  const Fd file(open(LockPath(folder).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct flock lock = WholeFile();
  if (!file || fcntl(file.get(), F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK) return 0;
  return lock.l_pid;
}

}  // namespace csb::agent
