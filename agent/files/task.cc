// SPDX-License-Identifier: Apache-2.0
#include "agent/files/task.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <new>

#include "agent/files/operations.h"
#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

struct Operation {
  std::string_view name;
  Result<std::string> (*run)(const FileTask&);
};
constexpr std::array kTable = {
    Operation{"file_read", FileRead},       Operation{"file_write", FileWrite},
    Operation{"file_delete", FileDelete},   Operation{"file_list", FileList},
    Operation{"file_stat", FileStat},       Operation{"unzip", FileUnzip},
    Operation{"file_cleanup", FileCleanup},
};

Result<std::string> Run(std::string_view op, const FileTask& task) {
  // A reader that went away and a file size limit are errors of a call here, not deaths.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  umask(022);
  if (chdir(task.io.workspace.c_str()) != 0) return FromErrno(errno, "enter", task.io.workspace);
  for (const Operation& entry : kTable)
    if (entry.name == op) return entry.run(task);
  return Error{CSB_E_UNSUPPORTED, "unknown file operation " + ForMessage(op), "", false};
}

Result<std::string> RunCaught(std::string_view op, const FileTask& task) {
  try {
    return Run(op, task);
  } catch (const std::bad_alloc&) {
    return Error{CSB_E_NO_CAPACITY, "out of memory in " + ForMessage(op), "raise the sandbox's memory limit",
                 true};
  } catch (const std::exception& e) {
    return Error{CSB_E_INTERNAL, ForMessage(op) + ": " + e.what(), "", false};
  }
}

}  // namespace

int RunFileTask(std::string_view op, const json::Value& args, const FileTaskIo& io) try {
  ResultWriter writer(io.result_fd);
  const Result<std::string> result = RunCaught(op, {args, io, writer});
  return (result ? writer.Done(*result) : writer.Failed(result.error())) ? 0 : 1;
} catch (...) {
  // Memory for even the last line is missing; the exit code says that there is none.
  return 1;
}

}  // namespace csb::agent
