// SPDX-License-Identifier: Apache-2.0
#include "host/move/testing/folder_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::host {
namespace {

constexpr uid_t kNobody = 65534;
FolderBackend* g_being_made = nullptr;

// What the user may is what the operation may.
class AsUser {
 public:
  AsUser() {
    if (geteuid() != 0) return;
    setfsgid(kNobody);
    setfsuid(kNobody);
  }
  ~AsUser() {
    if (geteuid() != 0) return;
    setfsuid(0);
    setfsgid(0);
  }
};

Error Errno(const std::string& what) {
  const int e = errno;
  const csb_status code = e == ENOENT ? CSB_E_NOT_FOUND : e == EACCES ? CSB_E_FORBIDDEN : CSB_E_IO;
  return {code, what + ": " + std::strerror(e), "", false};
}

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

constexpr char kTree[] = R"py(
import hashlib, os, stat
def walk(path, rel):
    for name in sorted(os.listdir(path)):
        below, here = os.path.join(path, name), rel + b"/" + name
        st = os.lstat(below)
        extra = ""
        if stat.S_ISLNK(st.st_mode):
            extra = repr(os.readlink(below))
        mode = stat.S_IMODE(st.st_mode)
        if stat.S_ISREG(st.st_mode):
            os.chmod(below, mode | 0o400)
            with open(below, "rb") as f:
                extra = str(st.st_size) + " " + hashlib.sha256(f.read()).hexdigest() + " " + str(st.st_nlink)
            os.chmod(below, mode)
        print(stat.S_IFMT(st.st_mode), oct(mode) if not stat.S_ISLNK(st.st_mode) else "", st.st_mtime_ns, repr(here), extra)
        if stat.S_ISDIR(st.st_mode):
            os.chmod(below, mode | 0o700)
            walk(below, here)
            os.chmod(below, mode)
walk(b"/workspace", b"")
)py";

}  // namespace

class FolderBackend::Impl : public BlockingBackend {
 public:
  Impl(HostRef host, FolderBackend& owner) : BlockingBackend(host), owner_(owner) {}
  static Result<std::unique_ptr<Impl>> Create(HostRef host) {
    return std::make_unique<Impl>(host, *g_being_made);
  }
  Result<std::string> Run(const Request& request, Context& context) override {
    return owner_.Run(request, context);
  }

 private:
  FolderBackend& owner_;
};

FolderBackend::FolderBackend(std::string name, const std::string& root, HostServices& services)
    : name_(std::move(name)), root_(root + "/" + name_) {
  std::filesystem::create_directories(root_);
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.magic = CSB_PLUGIN_MAGIC;
  descriptor_.abi_major = CSB_ABI_MAJOR;
  descriptor_.abi_minor = CSB_ABI_MINOR;
  descriptor_.kind = CSB_KIND_BACKEND;
  descriptor_.name = name_.c_str();
  descriptor_.version = "1.0.0";
  descriptor_.description = "folders";
  descriptor_.get_interface = &csb::detail::BackendTable<Impl>::GetInterface;
  g_being_made = this;
  auto made = BackendInstance::Create({"/fake/" + name_ + ".so", &descriptor_}, services);
  g_being_made = nullptr;
  if (!made)
    ADD_FAILURE() << made.error().message;
  else
    instance_ = *std::move(made);
}

void FolderBackend::Before(Hook hook) {
  const std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
}
void FolderBackend::SpoilWrites(bool on) {
  const std::lock_guard lock(mutex_);
  spoil_ = on;
}
void FolderBackend::SetAvailable(bool available) {
  const std::lock_guard lock(mutex_);
  available_ = available;
}
void FolderBackend::SetNetwork(std::string value) {
  const std::lock_guard lock(mutex_);
  network_ = std::move(value);
}
bool FolderBackend::Has(const std::string& user) const { return std::filesystem::exists(Folder(user)); }
bool FolderBackend::Running(const std::string& user) const {
  const std::lock_guard lock(mutex_);
  return running_.contains(user);
}
std::string FolderBackend::Folder(const std::string& user) const { return root_ + "/" + EngineName(user); }

void FolderBackend::Start(const std::string& user) {
  const std::string folder = Folder(user);
  if (mkdir(folder.c_str(), 0700) == 0 && geteuid() == 0)
    static_cast<void>(chown(folder.c_str(), kNobody, kNobody));
  const std::lock_guard lock(mutex_);
  running_.insert(user);
}

std::string FolderBackend::Python(const std::string& user, const std::string& code) {
  std::string out, err;
  EXPECT_EQ(Interpret(user, code, &out, &err), 0) << err;
  return out + err;
}

std::string FolderBackend::Tree(const std::string& user) {
  return Has(user) ? Python(user, kTree) : "nothing";
}

std::string FolderBackend::Inside(const std::string& user, std::string text) const {
  const std::string from = "/workspace", to = Folder(user);
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

int FolderBackend::Interpret(const std::string& user, const std::string& code, std::string* out,
                             std::string* err) {
  static std::atomic<int> number{0};
  const std::string base = root_ + "/." + std::to_string(++number);
  {
    std::ofstream script(base);
    if (geteuid() == 0) script << "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n";
    script << Inside(user, code);
  }
  const int code_of = std::system(
      ("/usr/bin/python3 -I " + base + " >" + base + ".out 2>" + base + ".err </dev/null").c_str());
  *out = Slurp(base + ".out");
  *err = Slurp(base + ".err");
  for (const char* end : {"", ".out", ".err"}) unlink((base + end).c_str());
  return WEXITSTATUS(code_of);
}

std::string FolderBackend::InfoOf(const std::string& user) const {
  const std::lock_guard lock(mutex_);
  return R"({"user_id":")" + user + R"(","status":")" + (running_.contains(user) ? "running" : "stopped") +
         R"(","enforced":{"network":{"enforced":true,"value":")" + network_ + R"("}}})";
}

Result<std::string> FolderBackend::Run(const Request& request, BlockingBackend::Context& context) {
  Hook hook;
  {
    const std::lock_guard lock(mutex_);
    hook = hook_;
  }
  if (hook)
    if (auto error = hook(request.op, request.payload)) return *error;
  const std::string& user = request.user;
  bool available, running;
  {
    const std::lock_guard lock(mutex_);
    available = available_;
    running = running_.contains(user);
  }
  if (request.op == CSB_OP_PROBE)
    return std::string(available ? R"({"available":true,"enforces":{}})"
                                 : R"({"available":false,"reason":"daemon not running","hint":"start it"})");
  if (!available) return Error{CSB_E_UNAVAILABLE, "daemon not running", "start it", true};
  switch (request.op) {
    case CSB_OP_CREATE:
      Start(user);
      return InfoOf(user);
    case CSB_OP_STATUS:
      if (!Has(user)) return Error{CSB_E_NOT_FOUND, "no sandbox", "", false};
      return InfoOf(user);
    case CSB_OP_STOP: {
      const std::lock_guard lock(mutex_);
      return std::string(running_.erase(user) > 0 ? R"({"status":"stopped"})" : R"({"status":"not_found"})");
    }
    case CSB_OP_DESTROY: {
      {
        const std::lock_guard lock(mutex_);
        running_.erase(user);
      }
      std::error_code ec;
      if (request.payload.find("true") != std::string::npos) std::filesystem::remove_all(Folder(user), ec);
      return std::string(R"({"status":"deleted","files_preserved":false})");
    }
    default:
      break;
  }
  if (!running) return Error{CSB_E_NO_SANDBOX, "no sandbox", "", true};
  if (request.op == CSB_OP_EXECUTE) return Execute(request, context);
  if (request.op == CSB_OP_FILE_READ) return ReadFile(request, context);
  if (request.op == CSB_OP_FILE_WRITE) return WriteFile(request, context);
  return Error{CSB_E_UNSUPPORTED, "not here", "", false};
}

Result<std::string> FolderBackend::Execute(const Request& request, BlockingBackend::Context& context) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  std::string out, err;
  const int code =
      Interpret(request.user, std::string(json::GetString(*payload, "code").value_or("")), &out, &err);
  if (auto s = context.Output(CSB_STREAM_STDOUT, out); !s) return s.error();
  if (auto s = context.Output(CSB_STREAM_STDERR, err); !s) return s.error();
  return R"({"exit_code":)" + std::to_string(code) + R"(,"cause":"exit","message":""})";
}

Result<std::string> FolderBackend::ReadFile(const Request& request, BlockingBackend::Context& context) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  const std::string path = Inside(request.user, std::string(json::GetString(*payload, "path").value_or("")));
  int fd;
  {
    const AsUser user;
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  }
  if (fd < 0) return Errno(path);
  off_t at = json::GetInt(*payload, "offset").value_or(0);
  int64_t left = json::GetInt(*payload, "length").value_or(INT64_MAX);
  char block[65536];
  for (ssize_t n; left > 0 && (n = pread(fd, block, std::min<int64_t>(left, sizeof block), at)) > 0;
       at += n, left -= n)
    if (auto s = context.Output(CSB_STREAM_DATA, {block, static_cast<size_t>(n)}); !s) {
      close(fd);
      return s.error();
    }
  close(fd);
  return std::string("{}");
}

Result<std::string> FolderBackend::WriteFile(const Request& request, BlockingBackend::Context& context) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  const std::string path = Inside(request.user, std::string(json::GetString(*payload, "path").value_or("")));
  std::string data(65536, '\0'), all;
  for (;;) {
    auto n = context.ReadInput(data.data(), data.size());
    if (!n) return n.error();
    if (*n == 0) break;
    all.append(data, 0, *n);
  }
  {
    const std::lock_guard lock(mutex_);
    if (spoil_ && !all.empty()) all[all.size() / 2] ^= 1;
  }
  const AsUser user;
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Errno(path);
  const bool whole = write(fd, all.data(), all.size()) == static_cast<ssize_t>(all.size());
  close(fd);
  if (!whole) return Errno(path);
  return std::string("{}");
}

}  // namespace csb::host
