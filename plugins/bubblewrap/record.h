// SPDX-License-Identifier: Apache-2.0
//
// record.h: what is written down about a user's sandbox, so that any host process finds it again.
//
//   UserRecord  <data>/<name>/record.json: outlives the sandbox and the machine's boots (SyncFile)
//   LiveRecord  <runtime>/<name>/live.json: exists from before the first step of a launch until the
//               last step of the cleaning up
//
// Files are ours (0600, in folders that no sandbox sees); they are checked all the same.
#pragma once

#include <optional>
#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/bubblewrap/cgroup.h"
#include "plugins/bubblewrap/limits.h"
#include "plugins/bubblewrap/uid_pair.h"
#include "plugins/common/process.h"
#include "plugins/common/rfc3339.h"

namespace csb::bwrap {

struct UserRecord {
  std::string user;        // exact id
  UidPair uids;            // 0: the host's own uid
  std::string created_at;  // RFC 3339
  uint64_t image = 0;      // size of the workspace's image; 0: a plain folder
};

struct LiveRecord {
  std::string user;
  UidPair uids;
  Limits limits;
  std::string created_at;
  uint64_t image = 0;
  ProcessId monitor, init;  // pid 0: the launch had not come so far
  ProcessId pasta;
  Cgroup cgroup;
};

Result<UserRecord> ReadUserRecord(const std::string& path);  // CSB_E_NOT_FOUND
Status WriteUserRecord(const std::string& path, const UserRecord& record);

Result<LiveRecord> ReadLiveRecord(const std::string& path);  // CSB_E_NOT_FOUND
Status WriteLiveRecord(const std::string& path, const LiveRecord& record);

}  // namespace csb::bwrap
