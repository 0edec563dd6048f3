// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/auth.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/base64.h"
#include "plugins/http/target.h"

namespace csb::http {
namespace {

constexpr size_t kMinKey = 8;
constexpr size_t kMaxKeysFile = 1 << 20;

std::string_view Trim(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

bool SkipWord(std::string_view& s, std::string_view word) {
  if (s.size() <= word.size() || s[word.size()] != ' ') return false;
  for (size_t i = 0; i < word.size(); ++i)
    if ((s[i] | 0x20) != word[i]) return false;
  s = Trim(s.substr(word.size()));
  return true;
}

bool ParseDigest(std::string_view hex, Digest& out) {
  if (hex.size() != 2 * out.size()) return false;
  std::string escaped;
  for (size_t i = 0; i < hex.size(); i += 2) (escaped += '%').append(hex.substr(i, 2));
  const auto bytes = PercentDecode(escaped, false);
  if (!bytes) return false;
  std::memcpy(out.data(), bytes->data(), out.size());
  return true;
}

Error FileError(const std::string& file, const std::string& why, std::string hint) {
  return {CSB_E_INVALID, "http.keys_file " + file + ": " + why, std::move(hint), false};
}

Result<std::string> ReadPrivateFile(const std::string& file) {
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return FileError(file, std::string("cannot be opened: ") + std::strerror(errno),
                     "name an existing file that this user may read, or unset http.keys_file");
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat st {};
  if (fstat(fd, &st) != 0) return FileError(file, std::string("fstat: ") + std::strerror(errno), "");
  if (!S_ISREG(st.st_mode)) return FileError(file, "is no regular file", "");
  if (st.st_uid != geteuid() && st.st_uid != 0)
    return FileError(file, "belongs to another user",
                     "chown it to root or to the user that runs the service");
  if ((st.st_mode & 0027) != 0) return FileError(file, "is open to others", "run: chmod 600 " + file);
  if (static_cast<size_t>(st.st_size) > kMaxKeysFile) return FileError(file, "is larger than 1 MiB", "");
  std::string text;
  char buffer[4096];
  while (text.size() <= kMaxKeysFile) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(file, std::string("read: ") + std::strerror(errno), "");
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  OPENSSL_cleanse(buffer, sizeof buffer);
  return text;
}

Result<std::vector<std::string>> ParseUsers(std::string_view list) {
  std::vector<std::string> users;
  while (true) {
    const size_t comma = list.find(',');
    auto user = PercentDecode(Trim(list.substr(0, comma)), false);
    if (!user) return Error{CSB_E_INVALID, "a `%` is not followed by two hex digits", "", false};
    if (auto status = CheckUserId(*user); !status) return status.error();
    users.push_back(*std::move(user));
    if (comma == std::string_view::npos) return users;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

Digest Sha256(std::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool Key::Allows(std::string_view user) const {
  return users.empty() || std::find(users.begin(), users.end(), user) != users.end();
}

const Key* KeyRing::Find(std::string_view presented) const {
  const Digest digest = Sha256(presented);
  const Key* found = nullptr;
  for (const Key& key : keys_)
    if (CRYPTO_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;
  return found;
}

Result<std::vector<Key>> ParseKeys(std::string_view text, std::string_view file_name) {
  std::vector<Key> keys;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.empty() || line.front() == '#') continue;
    const auto bad = [&](const std::string& why) {
      return Error{
          CSB_E_INVALID,
          "http.keys_file " + std::string(file_name) + " line " + std::to_string(number) + ": " + why,
          "write `name:key` or `name:key:user,user`", false};
    };
    const size_t first = line.find(':');
    if (first == std::string_view::npos) return bad("has no `:`");
    const size_t second = line.find(':', first + 1);
    Key key;
    key.name = std::string(Trim(line.substr(0, first)));
    const std::string_view secret = Trim(line.substr(
        first + 1, second == std::string_view::npos ? std::string_view::npos : second - first - 1));
    if (key.name.empty() || !utf8::Valid(key.name)) return bad("the name is empty or not UTF-8");
    if (std::any_of(keys.begin(), keys.end(), [&](const Key& k) { return k.name == key.name; }))
      return bad("the name `" + key.name + "` stands there twice");
    if (secret.substr(0, 7) == "sha256=") {
      if (!ParseDigest(secret.substr(7), key.digest)) return bad("sha256= needs 64 hex digits");
    } else {
      if (secret.size() < kMinKey) return bad("the key is shorter than 8 characters");
      if (std::any_of(secret.begin(), secret.end(), [](char c) { return c <= ' ' || c > '~'; }))
        return bad("the key has a space or a character that is not ASCII");
      key.digest = Sha256(secret);
    }
    if (second != std::string_view::npos) {
      auto users = ParseUsers(line.substr(second + 1));
      if (!users) return bad("users: " + users.error().message);
      key.users = *std::move(users);
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<std::shared_ptr<const KeyRing>> LoadKeys(std::string_view api_key, const std::string& keys_file) {
  std::vector<Key> keys;
  if (!keys_file.empty()) {
    auto text = ReadPrivateFile(keys_file);
    if (!text) return text.error();
    auto parsed = ParseKeys(*text, keys_file);
    OPENSSL_cleanse(text->data(), text->size());
    if (!parsed) return parsed.error();
    if (parsed->empty())
      return FileError(keys_file, "has no key", "write a line `name:key`, or unset http.keys_file");
    keys = *std::move(parsed);
  }
  if (!api_key.empty()) keys.push_back({"http.api_key", Sha256(api_key), {}});
  return std::shared_ptr<const KeyRing>(std::make_shared<KeyRing>(std::move(keys)));
}

std::string_view PresentedKey(std::string_view api_key_field, std::string_view authorization) {
  if (!api_key_field.empty()) return api_key_field;
  return SkipWord(authorization, "bearer") ? authorization : std::string_view();
}

std::string BasicPassword(std::string_view authorization) {
  if (!SkipWord(authorization, "basic") || authorization.size() > 4096) return {};
  const auto decoded = base64::Decode(authorization);
  if (!decoded) return {};
  const std::string& text = *decoded;
  const size_t colon = text.find(':');
  return colon == std::string::npos ? std::string() : text.substr(colon + 1);
}

std::string ProtocolKey(std::string_view protocols) {
  if (protocols.size() > 4096) return {};
  for (std::string_view rest = protocols; !rest.empty();) {
    const std::string_view word = Trim(rest.substr(0, rest.find(',')));
    rest.remove_prefix(std::min(rest.size(), rest.find(',') == rest.npos ? rest.size() : rest.find(',') + 1));
    if (!word.starts_with("key.")) continue;
    std::string text(word.substr(4));
    for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
    while (text.size() % 4 != 0) text += '=';
    const auto decoded = base64::Decode(text);
    return decoded ? *decoded : std::string();
  }
  return {};
}

bool HasWord(std::string_view list, std::string_view word) {
  const auto same = [](char a, char b) {
    const auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return low(a) == low(b);
  };
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view one = Trim(rest.substr(0, rest.find(',')));
    rest.remove_prefix(rest.find(',') == rest.npos ? rest.size() : rest.find(',') + 1);
    if (std::equal(one.begin(), one.end(), word.begin(), word.end(), same)) return true;
  }
  return false;
}

}  // namespace csb::http
