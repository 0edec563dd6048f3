// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/tools.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "plugins/common/errno_error.h"
#include "plugins/common/seccomp_program.h"
#include "plugins/common/small_file.h"
#include "plugins/common/unique_fd.h"

namespace csb::incus {
namespace {

constexpr size_t kMostAgent = 64 << 20;

std::string DigestOf(const std::string& data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < 8; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

Status WriteFile(const std::string& path, const std::string& data, mode_t mode) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return ErrnoError("open", path);
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n = write(fd.get(), data.data() + done, data.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoError("write", path);
    done += static_cast<size_t>(n);
  }
  // Whatever the umask is: users inside are strangers to the file's owner.
  return fchmod(fd.get(), mode) == 0 ? Status() : Status(ErrnoError("fchmod", path));
}

}  // namespace

Result<Tools::Contents> Tools::Read() {
  std::ifstream file(options_.agent, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  Contents out;
  out.agent = content.str();
  if (!file || out.agent.empty() || out.agent.size() > kMostAgent)
    return Error{CSB_E_UNAVAILABLE, "the agent can't be read (" + options_.agent + ")",
                 "build it, or set incus.agent", false};
  auto program = SeccompProgram();
  if (!program) return program.error();
  out.seccomp = *std::move(program);
  return out;
}

Result<std::string> Tools::Digest() {
  const std::lock_guard lock(mutex_);
  if (!digest_.empty()) return digest_;
  auto contents = Read();
  if (!contents) return contents.error();
  return digest_ = DigestOf(contents->agent + contents->seccomp);
}

Result<std::string> Tools::Folder() {
  const std::lock_guard lock(mutex_);
  if (!folder_.empty() && Exists(folder_)) return folder_;
  auto contents = Read();
  if (!contents) return contents.error();
  const std::string folder = names_.Tools() + "/" + DigestOf(contents->agent + contents->seccomp);
  if (Exists(folder)) return folder_ = folder;
  if (Status s = MakeFolders(names_.Tools(), 0711); !s) return s.error();
  // Made beside and moved into place: of two hosts that start at once both find it whole.
  const std::string mine = folder + "." + std::to_string(getpid());
  std::error_code ignored;
  std::filesystem::remove_all(mine, ignored);
  Status made = MakeFolders(mine, 0755);
  if (made) made = WriteFile(mine + "/clara-sandbox-agent", contents->agent, 0555);
  if (made) made = WriteFile(mine + "/seccomp", contents->seccomp, 0444);
  if (made && rename(mine.c_str(), folder.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
    made = ErrnoError("rename", mine);
  std::filesystem::remove_all(mine, ignored);
  if (!made) return made.error();
  return folder_ = folder;
}

}  // namespace csb::incus
