// SPDX-License-Identifier: Apache-2.0
//
// selection.h: which backend a user's sandbox goes to, and why not to the others. A pure
// function of what is configured, what the probes found and where the user's files are.
//
//   SelectionInput in{.mode = "auto", .order = {"docker", "bubblewrap"}, .candidates = …};
//   Selection s = Select(in);
//   if (s.chosen) Use(in.candidates[*s.chosen]); else return s.error;
//   for (const Verdict& v : s.verdicts) Print(v.name, v.chosen, v.reason);
//
// Rules: a user stays where the files are; a named mode uses just that backend; a request may name
// one where the operator allows it; `auto` takes remote if it is configured and answers, else the
// first usable one in order. A backend is usable when its probe found it available, its breaker is
// closed and it can guarantee what is required. There is never a silent second choice for a user
// who has files somewhere.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

// What a probe found, as far as choosing needs it.
struct ProbeResult {
  bool available = false;
  std::string reason, hint;  // why not available, what to do
  std::string version;       // "bubblewrap 0.8.0"
  std::string isolation;     // one line
  std::string enforces;      // JSON object as the probe gave it, "{}" if none
  std::string details;       // likewise: what the backend found out and chose, by its own names
  bool virtual_machine = false;
  bool own_channel = false;               // what runs in a sandbox goes there past what the probe asks
  std::optional<bool> network_none;       // whether sandboxes are without a network; nullopt: not said
  std::vector<std::string> not_enforced;  // names that the probe says it cannot enforce
};

struct Candidate {
  std::string name;
  std::optional<ProbeResult> probe;           // nullopt: no answer yet
  std::optional<std::string> breaker_reason;  // set while the breaker is open
};

struct SelectionInput {
  std::string mode = "auto";  // auto, or a backend's name, or incus-vm
  std::vector<std::string> order;
  std::vector<Candidate> candidates;     // the enabled backends
  std::optional<std::string> pinned;     // the backend that holds the user's files
  std::optional<std::string> requested;  // by this request
  std::vector<std::string> choices;      // what a request may name: backends, or "all"
  std::vector<std::string> required;     // what must be guaranteed: "memory", "network-none", "vm", …
};

struct Verdict {
  std::string name;
  bool available = false;  // could be used, whether chosen or not
  bool chosen = false;
  std::string reason;  // why chosen, or why not; never empty
  std::string hint;
};

struct Selection {
  std::optional<size_t> chosen;  // index into candidates
  Error error;  // when nothing was chosen: CSB_E_UNAVAILABLE, CSB_E_CONFLICT or CSB_E_FORBIDDEN
  std::vector<Verdict> verdicts;  // in the order in which they were considered
};

Selection Select(const SelectionInput& input);

// The candidates that `input` would consider, best first, whatever their state: whose probes
// have to be known before Select can answer. A named one that is not enabled is left out.
std::vector<size_t> Considered(const SelectionInput& input);

// Why this request may not name the backend it names; nullopt when it may, or names none. Naming what
// mode or pin say anyway is no choice.
std::optional<Error> RefusedChoice(const SelectionInput& input);

// What is left to a user whose backend does not come back, as the end of a hint.
inline constexpr std::string_view kMoveHint =
    "if it does not come back, `clara-sandbox move USER --to BACKEND` serves the user elsewhere";

// Reads a probe's JSON result (docs/operations.md). Members of wrong types count as absent.
ProbeResult ParseProbe(std::string_view json);

}  // namespace csb::host
