// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an archive: whatever libarchive makes of them, names stay in their folder and limits hold.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "agent/files/archive_reader.h"
#include "agent/files/remove_tree.h"
#include "agent/files/unpack.h"

namespace {

// A folder in memory, empty again at the end of each input.
class Place {
 public:
  Place() {
    if (mkdtemp(path_) == nullptr) abort();
  }
  ~Place() {
    if (rmdir(path_) != 0) abort();  // something was written beside the folder it was meant for
  }
  const char* path() const { return path_; }

 private:
  char path_[40] = "/dev/shm/csb-archive-fuzz-XXXXXX";
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace csb::agent;
  const Fd file(memfd_create("archive", MFD_CLOEXEC));
  if (!file || write(file.get(), data, size) != static_cast<ssize_t>(size) ||
      lseek(file.get(), 0, SEEK_SET) != 0)
    abort();
  const Place place;
  Fd folder(open(place.path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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
  return 0;
}
