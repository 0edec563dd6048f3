// SPDX-License-Identifier: Apache-2.0
//
// small_file.h: whole files of a few kilobytes: the kernel's in /proc and /sys/fs/cgroup, our own records.
//
//   auto text = ReadSmallFile("/proc/self/cgroup");
//   if (Status s = WriteSmallFile(group + "/pids.max", "64"); !s) return s;
//
// Every function blocks; Errors are CSB_E_IO (or what ErrnoError makes of errno) and name call and path.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb {

// At most 64 KiB; CSB_E_NOT_FOUND when there is none. Never follows a link in the last component.
Result<std::string> ReadSmallFile(const std::string& path);
// Into an existing file, in one write (kernel interface files).
Status WriteSmallFile(const std::string& path, std::string_view text);
// Replaces `path` (0600) atomically for other processes; SyncFile makes it outlive a power cut.
// durable: the new text is on the disk before it takes the old one's place.
Status ReplaceSmallFile(const std::string& path, std::string_view text, bool durable = false);
// Overwrites a file of ours in place with a text that is not shorter, in one write within a page: a
// process that is killed leaves the old or the new one.
Status OverwriteSmallFile(const std::string& path, std::string_view text);
// fsync of the file and its folder.
Status SyncFile(const std::string& path);
// Removes what a process that was killed while it replaced or made `path` left beside it (path.XXXXXX).
// Nobody else may be replacing it meanwhile.
void RemoveUnfinished(const std::string& path);
// Like mkdir -p; folders that are made get `mode`, whatever the umask.
Status MakeFolders(const std::string& path, mode_t mode);
bool Exists(const std::string& path);

// Decimal, the whole text but for a line's end; "max" is UINT64_MAX.
std::optional<uint64_t> ParseCount(std::string_view text);
// The number behind `key ` on a line of its own (memory.events, cpu.stat, memory.oom_control).
std::optional<uint64_t> ParseKeyed(std::string_view text, std::string_view key);
// The rest of the line that starts with "Key:" (/proc/PID/status), trimmed.
std::string StatusField(std::string_view status, std::string_view key);

}  // namespace csb
