// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plugins/common/errno_error.h"
#include "plugins/common/folders.h"
#include "plugins/incus/trust.h"

namespace csb::incus {
namespace {

constexpr size_t kMaxInput = 64 << 10;

// The first line of stdin: what stands on a command line is seen by everybody on the machine.
Result<std::string> ReadLine() {
  std::string line;
  char c = 0;
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read", "standard input");
    if (n == 0 || c == '\n') return line;
    if (line.size() == kMaxInput)
      return Error{CSB_E_INVALID, "standard input is no token: too long", "", false};
    line += c;
  }
}

Status Trust(HostRef host, const CommandArguments& arguments, CommandOutput output) {
  if (arguments.size() != 1)
    return Error{
        CSB_E_INVALID, "incus trust: one TOKEN is expected",
        "`incus config trust add clara-sandbox` prints one on the server; with - it is read from standard "
        "input",
        false};
  std::string text(arguments[0]);
  if (text == "-") {
    auto line = ReadLine();
    if (!line) return line.error();
    text = *std::move(line);
  }
  auto token = ParseToken(text);
  if (!token) return token.error();
  const std::string state = StateDir(host);
  if (Status s = CheckAbsolute({&state}); !s) return s;
  auto trusted = TrustServer(*token, state + "/incus",
                             [&](const std::string& line) { output.Note("note: " + line + "\n"); });
  if (!trusted) return trusted.error();
  const std::string url = trusted->address.Url();
  std::string said = url;
  if (!trusted->server.empty()) said += " (" + trusted->server + ", Incus " + trusted->version + ")";
  said += trusted->already ? " trusts us already; the token was not used up.\n"
                           : " trusts us now, as \"" + token->client_name + "\".\n";
  said += "Its certificate is pinned: SHA-256 " + trusted->fingerprint + "\n";
  const auto& projects = trusted->projects;
  const bool default_project =
      projects.empty() || std::find(projects.begin(), projects.end(), "default") != projects.end();
  said += "\nTo use it, set in the configuration\n\n  [incus]\n  remote = " + url + "\n";
  if (!default_project) said += "  project = " + projects.front() + "\n";
  said += "\nor in the environment INCUS_REMOTE=" + url;
  if (!default_project) said += " INCUS_PROJECT=" + projects.front();
  output.Print(said + "\n");
  return {};
}

constexpr Command kCommands[] = {
    {.name = "trust",
     .arguments = "TOKEN",
     .summary = "Have an Incus server on the network trust this machine, by its token",
     .details =
         "On the server:\n\n"
         "  incus config set core.https_address :8443     (unless it listens already)\n"
         "  incus config trust add clara-sandbox          (prints TOKEN; --restricted --projects NAME)\n\n"
         "Then here, as the user that clara-sandbox runs as: makes a client certificate in "
         "sandbox.state_dir, has\n"
         "the server trust it, and pins the server's certificate. With - the token is read from standard "
         "input.",
     .run = &Trust}};

}  // namespace

const csb_command_v1* CommandInterface() { return CommandTable<kCommands>(); }

}  // namespace csb::incus
