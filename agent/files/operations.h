// SPDX-License-Identifier: Apache-2.0
//
// operations.h: the operations behind RunFileTask, one function each. All take the working
// directory as the place where relative paths start, and return the JSON text of their result.
#pragma once

#include <string>

#include "agent/files/task.h"
#include "agent/files/task_io.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct FileTask {
  const json::Value& args;
  const FileTaskIo& io;
  ResultWriter& writer;
};

// Opens regular files only, never waiting for a FIFO's other end. Sends META and the bytes
// [offset, offset + length) of the size seen at the start; what is appended meanwhile is not sent.
// Files whose size the kernel does not tell (/proc, /sys) are read up to 1 MiB, more is
// CSB_E_TOO_LARGE.
Result<std::string> FileRead(const FileTask& task);

// Reads the input to its end into an unnamed file (O_TMPFILE, open(2); a hidden temporary where the
// file system has none), then gives it the target's name by rename: readers see the old or the new
// file, never a part. No fsync: a crash of the machine may lose a write that was answered. Links are
// followed with the user's rights; parent folders are made last. The mode is `mode`, else that of the
// replaced file, else 0644.
Result<std::string> FileWrite(const FileTask& task);

// Deletes a file, a link (not what it points to), an empty folder, or with `recursive` a tree.
// Never /, the workspace, or a folder that holds it.
Result<std::string> FileDelete(const FileTask& task);

// At most `limit` entries, the first by byte order, fewer when the result would not fit in a frame.
Result<std::string> FileList(const FileTask& task);
Result<std::string> FileStat(const FileTask& task);

// Unpacks an archive; unzip.h has the rules.
Result<std::string> FileUnzip(const FileTask& task);
Result<std::string> FileCleanup(const FileTask& task);

}  // namespace csb::agent
