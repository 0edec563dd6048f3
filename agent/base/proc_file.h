// SPDX-License-Identifier: Apache-2.0
//
// proc_file.h: the small text files in which the kernel tells things (proc(5), cgroups(7)).
//
//   const std::string status = ReadSmallFile("/proc/self/status").value_or("");
//   StatusField(status, "CapEff");   // "0000000000000000"
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace csb::agent {

// All of a file, up to 1 MiB. Nothing: it cannot be read, errno says why.
std::optional<std::string> ReadSmallFile(const std::string& path);

// Without white space at both ends.
std::string_view Trimmed(std::string_view text);

// The parts between white space.
std::vector<std::string_view> Words(std::string_view text);

// The value of a line "Name:\tvalue" of /proc/PID/status; empty: there is none.
std::string StatusField(std::string_view status, std::string_view name);

// The network interfaces that /proc/net/dev names.
std::vector<std::string> InterfaceNames(std::string_view net_dev);

}  // namespace csb::agent
