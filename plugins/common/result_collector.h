// SPDX-License-Identifier: Apache-2.0
//
// result_collector.h: for frontends that answer a run with one document: gathers what the code showed
// (CSB_EVENT_RESULT), bounded.
//
//   ResultCollector results;
//   results.Event(event, json);        // on_event
//   results.Write(writer);             // an array; results.left_out() more did not fit
//
// Not thread-safe: callbacks of one operation never overlap.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"

namespace csb {

class ResultCollector {
 public:
  static constexpr size_t kMost = 64;
  static constexpr size_t kMostBytes = 8 << 20;

  void Event(uint32_t event, std::string_view json) {
    if (event != CSB_EVENT_RESULT) return;
    // A backend may be of any make: what is no object tells nothing.
    if (items_.size() >= kMost || json.size() > kMostBytes - bytes_ || !json::ParseObject(json)) {
      ++left_out_;
      return;
    }
    bytes_ += json.size();
    items_.emplace_back(json);
  }
  const std::vector<std::string>& items() const { return items_; }  // JSON objects
  size_t left_out() const { return left_out_; }
  void Write(json::Writer& w) const {
    w.StartArray();
    for (const std::string& item : items_) w.RawValue(item.data(), item.size(), rapidjson::kObjectType);
    w.EndArray();
  }

 private:
  std::vector<std::string> items_;
  size_t bytes_ = 0;
  size_t left_out_ = 0;
};

}  // namespace csb
