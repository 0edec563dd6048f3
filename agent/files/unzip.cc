// SPDX-License-Identifier: Apache-2.0
#include "agent/files/unzip.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "agent/files/archive_reader.h"
#include "agent/files/merge.h"
#include "agent/files/paths.h"
#include "agent/files/staging.h"
#include "agent/files/unpack.h"

namespace csb::agent {
namespace {

using Clock = std::chrono::steady_clock;

struct Request {
  std::string path, destination;
  UnpackLimits limits;
};

Result<Request> ParseRequest(const json::Value& args) {
  Request request;
  auto path = RequiredPath(args, "path");
  if (!path) return path.error();
  request.path = *path;
  auto destination = OptionalPath(args, "destination", FolderOf(*path));
  if (!destination) return destination.error();
  request.destination = *destination;
  const UnpackLimits d;
  auto bytes = IntBetween(args, "max_bytes", static_cast<int64_t>(d.bytes), 0, INT64_MAX);
  if (!bytes) return bytes.error();
  auto entries = IntBetween(args, "max_entries", static_cast<int64_t>(d.entries), 1, 10'000'000);
  if (!entries) return entries.error();
  auto depth = IntBetween(args, "max_depth", static_cast<int64_t>(d.depth), 1, static_cast<int64_t>(d.depth));
  if (!depth) return depth.error();
  request.limits = {static_cast<uint64_t>(*bytes), static_cast<uint64_t>(*entries),
                    static_cast<size_t>(*depth)};
  return request;
}

Result<Fd> OpenArchive(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return FromErrno(errno, "read", path);
  if (!S_ISREG(st.st_mode))
    return Error{CSB_E_INVALID, "Not a regular file: " + ForMessage(path), "name an archive", false};
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file || fstat(file.get(), &st) != 0) return FromErrno(errno, "read", path);
  if (!S_ISREG(st.st_mode))
    return Error{CSB_E_INVALID, "Not a regular file: " + ForMessage(path), "name an archive", false};
  return file;
}

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() > suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

constexpr std::array<std::string_view, 4> kFilterSuffixes = {".gz", ".bz2", ".xz", ".zst"};

// "notes.txt.gz" -> "notes.txt"
std::string NameWithoutSuffix(const std::string& path) {
  const std::string name(LastName(path));
  for (const std::string_view suffix : kFilterSuffixes)
    if (EndsWith(name, suffix)) return name.substr(0, name.size() - suffix.size());
  return name + ".unpacked";
}

// By its name, "a.gz" but not "a.tar.gz".
bool IsSingleFile(const std::string& path) {
  const std::string name = NameWithoutSuffix(path);
  return !EndsWith(name, ".unpacked") && !EndsWith(name, ".tar");
}

// What the user is told: as a command's end.
struct Report {
  int exit_code = 0;
  std::string out, err, message, hint;
};

Report Failed(const Error& error, const NameLog& refused) {
  Report report{1, "", refused.Text() + "unzip: " + error.message + "\n", error.message, error.hint};
  return report;
}

// Failures of the archive are reports; those of the system are errors of the operation.
bool IsArchivesFault(const Error& error) {
  return error.code == CSB_E_INVALID || error.code == CSB_E_BAD_REQUEST || error.code == CSB_E_TOO_LARGE ||
         error.code == CSB_E_CONFLICT;
}

std::string Summary(const Unpacker& u, const std::string& destination) {
  return std::to_string(u.files()) + " files, " + std::to_string(u.folders()) + " folders, " +
         std::to_string(u.links()) + " links, " + std::to_string(u.bytes()) + " bytes unpacked to " +
         ForMessage(destination) + "\n";
}

class Work {
 public:
  Work(const Request& request, Confinement how) : request_(request), how_(how) {}

  Result<Report> Run(std::optional<Unpacker>& unpacker, std::optional<ConfinedDir>& dir) {
    auto archive = OpenArchive(request_.path);
    if (!archive) return archive.error();
    auto nearest = OpenNearestFolder(request_.destination);
    if (!nearest) return nearest.error();
    if (auto stale = RemoveStale(*nearest, request_.destination); !stale) return stale.error();
    auto staging = Staging::In(*nearest, request_.destination);
    if (!staging) return staging.error();
    Fd root(fcntl(staging->fd(), F_DUPFD_CLOEXEC, 0));
    if (!root) return FromErrno(errno, "unpack into", request_.destination);
    dir.emplace(std::move(root), how_);
    unpacker.emplace(*dir, request_.limits);

    Status done = Read(archive->get(), ArchiveReader::Formats::kAll, *unpacker);
    // A file of zeros, compressed, looks like a tar that ends at once.
    if (done && unpacker->members() == 0 && IsSingleFile(request_.path) &&
        lseek(archive->get(), 0, SEEK_SET) == 0)
      done = Read(archive->get(), ArchiveReader::Formats::kSingleFile, *unpacker);
    if (done && !unpacker->refused().empty())
      done = Error{CSB_E_INVALID,
                   std::to_string(unpacker->refused().total()) + " members refused, nothing was unpacked",
                   "make the archive anew without them, or unpack it by a command", false};
    if (!done) return Ended(done.error(), unpacker->refused());

    MadeFolders made;
    auto destination = made.Make(request_.destination);
    if (!destination) return Ended(destination.error(), {});
    if (auto fits = MergeTree(staging->fd(), destination->get(), MergeStep::kCheck); !fits)
      return Ended(fits.error(), {});
    made.Keep();
    if (auto moved = MergeTree(staging->fd(), destination->get(), MergeStep::kMove); !moved) {
      Error error = moved.error();
      error.message += "; a part is in " + ForMessage(request_.destination);
      return Ended(error, {});
    }
    Report report;
    report.out = unpacker->unpacked().Text() + Summary(*unpacker, request_.destination);
    return report;
  }

 private:
  Status Read(int fd, ArchiveReader::Formats formats, Unpacker& unpacker) const {
    ArchiveReader reader(fd, formats);
    if (auto opened = reader.Open(); !opened) return opened;
    return unpacker.Run(reader, NameWithoutSuffix(request_.path));
  }
  static Result<Report> Ended(const Error& error, const NameLog& refused) {
    if (!IsArchivesFault(error)) return error;
    return Failed(error, refused);
  }
  const Request& request_;
  const Confinement how_;
};

std::string ResultJson(const Report& report, const Request& request, const std::optional<Unpacker>& unpacker,
                       double seconds) {
  const bool ok = report.exit_code == 0 && unpacker;
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "exit_code", report.exit_code);
  json::Member(w, "cause", "exit");
  json::Member(w, "signal", 0);
  json::Member(w, "execution_time", seconds);
  json::Member(w, "stdout_bytes", static_cast<uint64_t>(report.out.size()));
  json::Member(w, "stderr_bytes", static_cast<uint64_t>(report.err.size()));
  json::Member(w, "stdout_dropped", 0);
  json::Member(w, "stderr_dropped", 0);
  json::Member(w, "message", report.message);
  json::Member(w, "hint", report.hint);
  json::Member(w, "destination", request.destination);
  json::Member(w, "files", ok ? unpacker->files() : 0);
  json::Member(w, "folders", ok ? unpacker->folders() : 0);
  json::Member(w, "links", ok ? unpacker->links() : 0);
  json::Member(w, "bytes", ok ? unpacker->bytes() : 0);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

Result<std::string> Unzip(const FileTask& task, Confinement how) {
  const auto start = Clock::now();
  auto request = ParseRequest(task.args);
  if (!request) return request.error();
  std::optional<ConfinedDir> dir;
  std::optional<Unpacker> unpacker;
  auto report = Work(*request, how).Run(unpacker, dir);
  if (!report) return report.error();
  if (!WriteAll(task.io.out_fd, report->out) || !WriteAll(task.io.err_fd, report->err))
    return FromErrno(errno, "send the output of", request->path);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return ResultJson(*report, *request, unpacker, seconds);
}

Result<std::string> FileUnzip(const FileTask& task) { return Unzip(task, Confinement::kBest); }

Result<std::string> FileCleanup(const FileTask& task) {
  auto request = ParseRequest(task.args);
  if (!request) return request.error();
  int removed = 0;
  for (const std::string& place : {request->destination, FolderOf(request->path)}) {
    auto nearest = OpenNearestFolder(place);
    if (!nearest) return nearest.error();
    auto stale = RemoveStale(*nearest, place);
    if (!stale) return stale.error();
    removed += *stale;
  }
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "removed", removed);
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize());
}

}  // namespace csb::agent
