// SPDX-License-Identifier: Apache-2.0
//
// task.h: one file operation, done inside the sandbox by a child process that has already become
// the sandbox's unprivileged user. docs/operations.md has each payload and result.
//
//   pid_t child = fork();                       // in the agent
//   if (child == 0) {
//     BecomeUser();
//     _exit(RunFileTask("file_read", args, {in, out, err, result, "/workspace"}));
//   }
//
// Lines on result_fd, one JSON object each, at most kMaxResultLine bytes with the newline:
//   {"event":1,"data":{…}}                                 CSB_EVENT_*, before any byte of data
//   {"code":0,"result":{…}}                                the last line of a success
//   {"code":6,"message":"…","hint":"…","retryable":false}  the last line of a failure
// A child that ends without a last line was killed or crashed.
//
// Operations: file_read file_write file_delete file_list file_stat unzip, and file_cleanup, which
// takes the args of an unzip that was killed and removes what it left half done (a staging folder
// that no live unzip holds); it is meant for the agent alone.
//
// End of in_fd means that the input is complete: to abort a write, kill the child. A killed
// file_write leaves nothing behind where the file system has O_TMPFILE, else a hidden temporary.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"

namespace csb::agent {

// A result has to fit in one frame of the channel (agent/protocol/frame.h).
inline constexpr size_t kMaxResultLine = (1 << 20) - 4096;

struct FileTaskIo {
  int in_fd;              // bytes for file_write, until end of file
  int out_fd;             // bytes of file_read; standard output of unzip
  int err_fd;             // standard error of unzip
  int result_fd;          // lines of JSON
  std::string workspace;  // where relative paths start; becomes the child's working directory
};

// Runs in the calling process, whose working directory, umask and signal dispositions it changes:
// call it in a child made for it. Blocks; never throws. Returns the exit code of the child: 0 once
// a last line was written, 1 when result_fd could not be written.
int RunFileTask(std::string_view op, const json::Value& args, const FileTaskIo& io);

}  // namespace csb::agent
