// SPDX-License-Identifier: Apache-2.0
#include "host/selection/selection.h"

#include <algorithm>

namespace csb::host {
namespace {

constexpr std::string_view kRemote = "remote";

// A mode is a backend's name, but for incus-vm, which is the incus backend making machines.
std::string_view BackendOfMode(std::string_view mode) { return mode == "incus-vm" ? "incus" : mode; }

std::optional<size_t> IndexOf(const std::vector<Candidate>& candidates, std::string_view name) {
  for (size_t i = 0; i < candidates.size(); ++i)
    if (candidates[i].name == name) return i;
  return std::nullopt;
}

std::string Join(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) {
    if (!out.empty()) out += separator;
    out += word;
  }
  return out;
}

bool Contains(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::vector<std::string> Names(const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const auto& c : candidates) names.push_back(c.name);
  return names;
}

struct Problem {
  std::string reason, hint;
};

// Why the candidate cannot take a sandbox now; nullopt when it can.
std::optional<Problem> Unusable(const SelectionInput& input, const Candidate& c) {
  if (c.breaker_reason)
    return Problem{"failed repeatedly and is left alone for a moment: " + *c.breaker_reason,
                   "try again soon"};
  if (!c.probe) return Problem{"has not answered its probe yet", "try again soon"};
  if (!c.probe->available)
    return Problem{c.probe->reason.empty() ? "not available" : c.probe->reason, c.probe->hint};
  const bool by_mode = input.mode == "incus-vm";
  if ((by_mode || input.requested == "incus-vm") && !c.probe->virtual_machine)
    return Problem{std::string("does not make virtual machines here, which ") +
                       (by_mode ? "mode incus-vm asks for" : "the request asks for with incus-vm"),
                   "set INCUS_SANDBOX_TYPE=vm, and see that the server supports virtual machines"};
  std::vector<std::string> missing;
  std::string others;
  for (const auto& name : input.required) {
    if (name == "vm") {
      if (!c.probe->virtual_machine) others += "; makes no virtual machines, and vm is required";
    } else if (name == "network-none") {
      if (c.probe->network_none == false)
        others += "; gives sandboxes a network, and network-none is required";
    } else if (Contains(c.probe->not_enforced, name)) {
      missing.push_back(name);
    }
  }
  if (missing.empty() && others.empty()) return std::nullopt;
  std::string reason;
  if (!missing.empty())
    reason = "cannot enforce " + Join(missing, ", ") + " on this machine, which is required" + others;
  else
    reason = others.substr(2);
  return Problem{std::move(reason),
                 "`clara-sandbox doctor` says what is missing; sandbox.require and "
                 "sandbox.allow_unenforced decide what is demanded"};
}

Selection Fail(Selection s, csb_status code, std::string message, std::string hint) {
  s.chosen.reset();
  s.error = Error{code, std::move(message), std::move(hint), code == CSB_E_UNAVAILABLE};
  return s;
}

void Skip(Selection& s, const Candidate& c, std::string reason) {
  s.verdicts.push_back({c.name, false, false, std::move(reason), ""});
}

// Adds a verdict for each candidate that has none.
void SkipRest(Selection& s, const SelectionInput& input, const std::string& reason) {
  for (const auto& c : input.candidates) {
    const bool seen =
        std::any_of(s.verdicts.begin(), s.verdicts.end(), [&](const Verdict& v) { return v.name == c.name; });
    if (!seen) Skip(s, c, reason);
  }
}

// Just this one backend or none: for a pin, a request and a named mode. `why` completes
// "chosen: …", `who` begins the error and `way_out` ends its hint.
Selection Only(const SelectionInput& input, std::string_view name, const std::string& why,
               const std::string& who, std::string_view way_out = "") {
  const auto with_way_out = [&](std::string hint) {
    if (!way_out.empty()) hint += (hint.empty() ? "" : "; ") + std::string(way_out);
    return hint;
  };
  Selection s;
  const auto index = IndexOf(input.candidates, name);
  if (!index) {
    SkipRest(s, input, "not " + std::string(name));
    return Fail(std::move(s), CSB_E_UNAVAILABLE, who + ", which is not loaded",
                with_way_out("install its plugin and enable it in sandbox.backends; loaded: " +
                             (input.candidates.empty() ? "none" : Join(Names(input.candidates), ", "))));
  }
  const Candidate& c = input.candidates[*index];
  if (auto problem = Unusable(input, c)) {
    s.verdicts.push_back({c.name, false, false, problem->reason, problem->hint});
    SkipRest(s, input, why);
    return Fail(std::move(s), CSB_E_UNAVAILABLE, who + ", which cannot be used: " + problem->reason,
                with_way_out(problem->hint));
  }
  s.chosen = *index;
  s.verdicts.push_back({c.name, true, true, why, ""});
  SkipRest(s, input, why);
  return s;
}

Selection Automatic(const SelectionInput& input) {
  Selection s;
  std::string problems, hint;
  for (size_t index : Considered(input)) {
    const Candidate& c = input.candidates[index];
    if (auto problem = Unusable(input, c)) {
      s.verdicts.push_back({c.name, false, false, problem->reason, problem->hint});
      problems += (problems.empty() ? "" : "; ") + c.name + ": " + problem->reason;
      if (hint.empty()) hint = problem->hint;
    } else if (s.chosen) {
      s.verdicts.push_back(
          {c.name, true, false, "usable, but " + input.candidates[*s.chosen].name + " comes first", ""});
    } else {
      s.chosen = index;
      s.verdicts.push_back(
          {c.name, true, true,
           c.name == kRemote ? "remote is configured and answers" : "the first usable one of sandbox.order",
           ""});
    }
  }
  SkipRest(s, input, "not in sandbox.order");
  if (s.chosen) return s;
  if (input.candidates.empty())
    return Fail(std::move(s), CSB_E_UNAVAILABLE, "no sandbox backend is loaded",
                "check sandbox.plugin_dirs and sandbox.backends");
  if (problems.empty())
    return Fail(std::move(s), CSB_E_UNAVAILABLE, "no loaded backend is in sandbox.order",
                "add one of these to sandbox.order: " + Join(Names(input.candidates), ", "));
  return Fail(std::move(s), CSB_E_UNAVAILABLE, "no sandbox backend can be used: " + problems, hint);
}

}  // namespace

std::vector<size_t> Considered(const SelectionInput& input) {
  std::vector<size_t> out;
  const auto add = [&](std::string_view name) {
    const auto index = IndexOf(input.candidates, name);
    if (index && std::find(out.begin(), out.end(), *index) == out.end()) out.push_back(*index);
  };
  if (input.pinned) {
    add(*input.pinned);
  } else if (input.requested) {
    add(BackendOfMode(*input.requested));
  } else if (input.mode != "auto") {
    add(BackendOfMode(input.mode));
  } else {
    add(kRemote);
    for (const auto& name : input.order) add(name);
  }
  return out;
}

std::optional<Error> RefusedChoice(const SelectionInput& input) {
  if (!input.requested) return std::nullopt;
  const std::string name(BackendOfMode(*input.requested));
  if (Contains(input.choices, "all") || Contains(input.choices, name) ||
      Contains(input.choices, *input.requested) || name == input.pinned ||
      (input.mode != "auto" && name == BackendOfMode(input.mode)))
    return std::nullopt;
  return Error{CSB_E_FORBIDDEN,
               "backend: " + *input.requested + " was asked for, but requests may " +
                   (input.choices.empty() ? std::string("not choose a backend")
                                          : "choose only of: " + Join(input.choices, ", ")),
               "leave the backend out; the operator allows the choice with sandbox.allow_backend_choice",
               false};
}

Selection Select(const SelectionInput& input) {
  const std::string_view only = input.mode == "auto" ? std::string_view() : BackendOfMode(input.mode);
  const auto conflict = [&](std::string message, std::string hint, const std::string& reason) {
    Selection s;
    SkipRest(s, input, reason);
    return Fail(std::move(s), CSB_E_CONFLICT, std::move(message), std::move(hint));
  };

  if (auto refused = RefusedChoice(input)) {
    Selection s;
    SkipRest(s, input, "the request may not choose");
    return Fail(std::move(s), refused->code, std::move(refused->message), std::move(refused->hint));
  }
  std::optional<std::string> requested;
  if (input.requested) requested = std::string(BackendOfMode(*input.requested));
  if (requested && !only.empty() && *requested != only)
    return conflict(
        "backend: " + *requested + " was asked for, but mode " + input.mode + " uses " + std::string(only),
        "set SANDBOX_MODE=auto, or leave the backend out", "mode and request disagree");

  if (input.pinned) {
    const std::string& pin = *input.pinned;
    if (requested && *requested != pin)
      return conflict(
          "backend: the user's files are on " + pin + ", not on " + *requested,
          "leave the backend out; `clara-sandbox move USER --to " + *requested + "` carries them over",
          "the user's files are on " + pin);
    if (!only.empty() && only != pin)
      return conflict("the user's files are on backend " + pin + ", but mode " + input.mode + " uses only " +
                          std::string(only),
                      "set SANDBOX_MODE=" + pin + " or auto; `clara-sandbox move USER --to " +
                          std::string(only) + "` carries them over",
                      "the user's files are on " + pin);
    return Only(input, pin, "the user's files are on " + pin, "the user's files are on backend " + pin,
                kMoveHint);
  }
  if (requested)
    return Only(input, *requested, "the request names " + *requested,
                "the request names backend " + *requested);
  if (!only.empty())
    return Only(input, only, "mode " + input.mode + " uses just " + std::string(only),
                "mode " + input.mode + " uses backend " + std::string(only));
  return Automatic(input);
}

}  // namespace csb::host
