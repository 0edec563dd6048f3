// SPDX-License-Identifier: Apache-2.0
//
// record.h: what is written down about a user of this backend: <state>/users/<name>.json, written before
// anything of the user's exists in the engine, removed after all of it.
//
// The engine holds the truth about what runs. The record holds what the engine can't: the exact id behind a
// container that came from the pool (labels can't be changed), and which volume holds the user's files.
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/docker/options.h"

namespace csb::docker {

struct Record {
  std::string user;        // exact id
  std::string volume;      // of the workspace; "" when it is a folder
  std::string folder;      // of the workspace; "" when it is a volume
  std::string container;   // id of the last one; a claim of the pool writes it before the rename
  std::string created_at;  // RFC 3339
  std::string image;
  Limits limits;  // of the last sandbox
};

// CSB_E_NOT_FOUND when there is none or it is empty; CSB_E_INTERNAL when it can't be read.
Result<Record> ReadRecord(const std::string& path);
// Atomically for other processes. durable: for one that replaces another, which a power cut must not take
// with it; else SyncFile makes it outlive one.
Status WriteRecord(const std::string& path, const Record& record, bool durable = false);

}  // namespace csb::docker
