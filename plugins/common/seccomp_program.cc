// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/seccomp_program.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "plugins/common/errno_error.h"
#include "plugins/common/seccomp_policy.h"
#include "plugins/common/unique_fd.h"

namespace csb {
namespace {

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(ENOSYS))) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void Attribute(scmp_filter_attr attribute, uint32_t value) {
    if (context_ != nullptr) Check(seccomp_attr_set(context_, attribute, value), "seccomp_attr_set", "");
  }

  void Add(const SeccompRule& rule) {
    if (context_ == nullptr) return;
    const int number = seccomp_syscall_resolve_name(rule.name);
    if (number < 0) return;  // not on this architecture, or newer than this libseccomp: ENOSYS
    std::vector<scmp_arg_cmp> when;
    for (const SeccompArg& arg : rule.when)
      when.push_back({arg.index, SCMP_CMP_MASKED_EQ, arg.mask, arg.value});
    const uint32_t action =
        rule.error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(static_cast<uint16_t>(rule.error));
    Check(seccomp_rule_add_array(context_, action, number, static_cast<unsigned>(when.size()),
                                 when.empty() ? nullptr : when.data()),
          "seccomp_rule_add", rule.name);
  }

  Result<std::string> Export() {
    if (context_ == nullptr) return Error{CSB_E_INTERNAL, "seccomp_init failed", "", false};
    if (!status_) return status_.error();
    UniqueFd fd(memfd_create("seccomp", MFD_CLOEXEC));
    if (!fd) return ErrnoError("memfd_create");
    if (const int error = seccomp_export_bpf(context_, fd.get()); error != 0)
      return ErrnoError("seccomp_export_bpf", "", -error);
    std::string program;
    char buffer[4096];
    off_t at = 0;
    for (ssize_t n; (n = pread(fd.get(), buffer, sizeof buffer, at)) != 0; at += n) {
      if (n < 0) return ErrnoError("pread", "seccomp program");
      program.append(buffer, static_cast<size_t>(n));
    }
    return program;
  }

 private:
  void Check(int result, const char* call, const char* name) {
    if (result != 0 && status_) status_ = ErrnoError(call, name, -result);
  }

  scmp_filter_ctx context_;
  Status status_;
};

}  // namespace

Result<std::string> SeccompProgram() {
  Filter filter;
  filter.Attribute(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  filter.Attribute(SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree instead of a list
  for (const SeccompRule& rule : SeccompPolicy()) filter.Add(rule);
  return filter.Export();
}

}  // namespace csb
