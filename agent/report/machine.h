// SPDX-License-Identifier: Apache-2.0
//
// machine.h: the machine below this process: its size, and whether it is one of its own. In a virtual machine
// that size is the bound, as no control group has one.
//
//   const Machine machine = ReadMachine();
//   if (machine.kind == "vm") Say(machine.memory);
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace csb::agent {

struct Machine {
  std::optional<uint64_t> memory;  // bytes; in an LXC container lxcfs shows the container's bound instead
  std::optional<uint64_t> processors;
  // "container": not in the kernel's first namespaces of users and processes. "vm": in them, on a hypervisor,
  // so that the kernel is this machine's own. "none": in them, on no hypervisor that can be seen. Empty:
  // /proc does not tell.
  std::string kind;
};

// `root` stands in for / in tests.
Machine ReadMachine(const std::string& root = "");

}  // namespace csb::agent
