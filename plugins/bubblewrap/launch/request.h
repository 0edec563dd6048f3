// SPDX-License-Identifier: Apache-2.0
//
// request.h: what the host asks of clara-sandbox-launch, and the descriptors they share.
//
// Its arguments are the cgroup.procs files to join before anything else. The request is a list of
// "key=value" strings, each ended by NUL, read from kRequestFd to its end; keys may repeat. A program of its
// own, since the steps need a process without threads, and since forking a big host costs more than starting
// a small binary.
//
//   agent_uid=N, user_uid=N                a prepared user namespace; absent: bwrap makes one itself
//   agent=PATH control=PATH etc=PATH       staged in a private mount namespace (with agent_uid)
//   workspace=PATH                         folder that becomes /workspace
//   image=PATH                             file with an ext4 to be mounted there
//   rlimit=RESOURCE:SOFT:HARD              (repeats)
//   block=1                                bwrap waits for a byte on kBlockFd before it runs the agent
//   tun_owner=UID direct=1                 for pasta: a /dev/net/tun that UID may open; arg replaces this
//                                          process, there is no bwrap and no report but a failure
//   arg=TEXT                               (repeats) the command line, bwrap's path first
//
// The answer on kReportFd: "monitor PID\n", then what bwrap writes for --info-fd; or "!message\n".
#pragma once

namespace csb::bwrap::launch {

inline constexpr int kRequestFd = 3;
inline constexpr int kReportFd = 4;   // bwrap --info-fd
inline constexpr int kSeccompFd = 5;  // bwrap --seccomp
inline constexpr int kBlockFd = 6;    // bwrap --block-fd; closed unless the request has block=1
inline constexpr int kUsernsFd = 7;   // bwrap --userns

// Where the launcher puts what bwrap binds, so that bwrap, under the sandbox's own uid, reaches it
// whatever the permissions of the folders above. Seen by no process but bwrap.
inline constexpr char kStage[] = "/run";
inline constexpr char kStagedAgent[] = "/run/agent";
inline constexpr char kStagedControl[] = "/run/ctl";
inline constexpr char kStagedEtc[] = "/run/etc";
inline constexpr char kStagedWorkspace[] = "/run/workspace";

}  // namespace csb::bwrap::launch
