// SPDX-License-Identifier: Apache-2.0
#include "agent/process/spec.h"

#include <cstring>

namespace csb::agent {
namespace {

void PutNumber(std::string& out, uint32_t number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void PutText(std::string& out, std::string_view text) {
  PutNumber(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

void PutList(std::string& out, const std::vector<std::string>& list) {
  PutNumber(out, static_cast<uint32_t>(list.size()));
  for (const auto& text : list) PutText(out, text);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint32_t Number() {
    uint32_t number = 0;
    if (rest_.size() < sizeof number) {
      ok_ = false;
      return 0;
    }
    std::memcpy(&number, rest_.data(), sizeof number);
    rest_.remove_prefix(sizeof number);
    return number;
  }
  std::string Text() {
    const uint32_t size = Number();
    if (size > rest_.size()) {
      ok_ = false;
      return {};
    }
    std::string text(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return text;
  }
  std::vector<std::string> List() {
    std::vector<std::string> list;
    for (uint32_t left = Number(); left > 0 && ok_; --left) list.push_back(Text());
    return list;
  }
  bool Finished() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

std::string StartSpec::Serialize() const {
  std::string out;
  PutList(out, argv);
  PutList(out, env);
  PutText(out, cwd);
  PutText(out, code);
  PutText(out, code_name);
  PutNumber(out, code_arg);
  PutList(out, warm_env);
  PutNumber(out, long_lived);
  PutNumber(out, terminal);
  PutText(out, task);
  PutText(out, task_args);
  return out;
}

std::optional<StartSpec> StartSpec::Parse(std::string_view bytes) {
  Reader reader(bytes);
  StartSpec spec;
  spec.argv = reader.List();
  spec.env = reader.List();
  spec.cwd = reader.Text();
  spec.code = reader.Text();
  spec.code_name = reader.Text();
  spec.code_arg = reader.Number();
  spec.warm_env = reader.List();
  spec.long_lived = reader.Number();
  spec.terminal = reader.Number();
  spec.task = reader.Text();
  spec.task_args = reader.Text();
  if (!reader.Finished()) return std::nullopt;
  if (spec.task.empty() && spec.argv.empty()) return std::nullopt;
  if (!spec.code_name.empty() && spec.code_arg >= spec.argv.size()) return std::nullopt;
  if (!spec.warm_env.empty() && (spec.code_name.empty() || spec.code_arg != 1)) return std::nullopt;
  return spec;
}

}  // namespace csb::agent
