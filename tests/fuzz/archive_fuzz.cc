// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an archive: whatever libarchive makes of them, names stay in their folder and limits hold.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "agent/files/archive_reader.h"
#include "agent/files/remove_tree.h"
#include "agent/files/unpack.h"

namespace {

// A folder in memory; its neighbour tells whether something was written beside it.
struct Place {
  Place() {
    char name[] = "/dev/shm/csb-archive-fuzz-XXXXXX";
    if (mkdtemp(name) == nullptr) abort();
    path = name;
    atexit([] { rmdir(At().path.c_str()); });
  }
  static Place& At() {
    static Place place;
    return place;
  }
  std::string path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace csb::agent;
  const Fd file(memfd_create("archive", MFD_CLOEXEC));
  if (!file || write(file.get(), data, size) != static_cast<ssize_t>(size) ||
      lseek(file.get(), 0, SEEK_SET) != 0)
    abort();
  Fd folder(open(Place::At().path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || mkdirat(folder.get(), "in", 0700) != 0) abort();
  {
    Fd in(openat(folder.get(), "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const ConfinedDir dir(std::move(in), size % 2 == 0 ? Confinement::kBest : Confinement::kWalk);
    const UnpackLimits limits{.bytes = 1 << 20, .entries = 64, .depth = 8};
    Unpacker unpacker(dir, limits);
    ArchiveReader reader(file.get());
    if (reader.Open() && unpacker.Run(reader, "raw") && unpacker.refused().empty() &&
        unpacker.bytes() > limits.bytes)
      abort();
  }
  if (!RemoveAt(folder.get(), "in", {.recursive = true, .force_rights = true}, "in")) abort();
  // Nothing else may be there: the folder has no subfolder left, and its own link count says so.
  struct stat st;
  if (fstat(folder.get(), &st) != 0 || st.st_nlink != 2) abort();
  return 0;
}
