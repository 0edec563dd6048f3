// SPDX-License-Identifier: Apache-2.0
//
// result.h: a value or an Error; what modules hand each other instead of exceptions.
//
//   Result<int> port = ParsePort(text);
//   if (!port) return port.error();
//   Listen(*port);
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "clara_sandbox/abi.h"

namespace csb {

// A csb_error of the first release; a caller's may be shorter than ours when it is older.
inline constexpr size_t kErrorSize = offsetof(csb_error, hint) + sizeof(csb_error::hint);

// What failed, on what (`message`), and what to do next (`hint`, may be empty).
struct [[nodiscard]] Error {
  csb_status code = CSB_E_INTERNAL;
  std::string message;
  std::string hint;
  bool retryable = false;

  // Puts this into an ABI error object; texts are cut at a UTF-8 boundary. `out` may be null.
  // Returns `code`, so that an ABI function can `return error.Fill(out)`.
  csb_status Fill(csb_error* out) const {
    if (out != nullptr && out->struct_size >= kErrorSize) {
      out->code = code;
      out->retryable = retryable ? 1 : 0;
      Copy(message, out->message, sizeof out->message);
      Copy(hint, out->hint, sizeof out->hint);
    }
    return code;
  }
  static Error From(csb_status code, const csb_error& e) {
    return {code, Text(e.message, sizeof e.message), Text(e.hint, sizeof e.hint), e.retryable != 0};
  }

 private:
  static void Copy(std::string_view from, char* to, size_t size) {
    size_t n = from.size();
    if (n >= size) {
      n = size - 1;
      while (n > 0 && (static_cast<unsigned char>(from[n]) & 0xC0) == 0x80) --n;
    }
    if (n > 0) std::memcpy(to, from.data(), n);
    to[n] = 0;
  }
  static std::string Text(const char* from, size_t size) { return {from, strnlen(from, size)}; }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  explicit operator bool() const { return state_.index() == 0; }
  bool ok() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  explicit operator bool() const { return !error_; }
  bool ok() const { return !error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

inline csb_str Str(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view View(csb_str s) { return {s.data == nullptr ? "" : s.data, s.size}; }

}  // namespace csb
