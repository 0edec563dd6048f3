// SPDX-License-Identifier: Apache-2.0
//
// unzip.h: the operation unzip.
//
//   {"path":"a.zip","destination":"out","max_bytes":1073741824,"max_entries":1000}
//
// All or nothing. Members are unpacked into a hidden folder beside the destination (or beside its
// nearest folder that exists), and moved in place by renames once the whole archive was read, every
// member was fine, and nothing in the destination stands in the way. A refused member, a damaged or
// encrypted archive, a limit: exit code 1, stderr says which, nothing stays behind. Only a fault in
// the middle of the renames (a folder changed meanwhile, a disk that broke) leaves a part, and
// stderr then says so.
//
// Refused: absolute names and "..", links that leave the destination (member_name.h), names that go
// through a link, hard links to what the archive did not bring, device nodes, FIFOs, sockets, names
// over 255 bytes a part. Set-id bits are dropped, owners are the user, folders get 0755. A zip's or
// pax archive's names are UTF-8 (composed, Unicode NFC), a tar's may be any bytes.
//
// Limits, which the caller may change in the payload: max_bytes (4 GiB) as they unpack,
// max_entries (100,000), max_depth (64 folders). Time is the caller's: it kills the process, and
// file_cleanup with the same payload (or the next unzip there) removes the hidden folder.
//
// Result: as docs/operations.md, with "destination", "files", "folders", "links", "bytes".
#pragma once

#include "agent/files/confined_dir.h"
#include "agent/files/operations.h"

namespace csb::agent {

// FileUnzip with a chosen way to confine; tests run both.
Result<std::string> Unzip(const FileTask& task, Confinement how);

}  // namespace csb::agent
