// SPDX-License-Identifier: Apache-2.0
//
// program.h: a program that runs on whether or not a host is connected: its pipes or its terminal, its
// deadline, its supervisor.
//
//   auto program = std::make_unique<Program>(loop, pool, identity, oom, identification, std::move(command));
//   if (auto started = program->Start({.timeout_ms = 0, .input = true}); !started) return started.error();
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/background/background.h"
#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/command/oom.h"
#include "agent/process/pool.h"

namespace csb::agent {

struct ProgramStart {
  uint64_t timeout_ms = 0;  // 0: none
  bool input = false;       // a pipe that stays open; else /dev/null
  bool terminal = false;    // all three are a terminal
  int rows = 24, cols = 80;
};

class Program : public Background, public JobClient {
 public:
  Program(Loop& loop, SupervisorPool& pool, const Identity& identity, const OomCounter& oom,
          Identification identification, Command command);

  // An error: nothing runs, destroy it.
  Status Start(const ProgramStart& start);

  uint64_t InputRoom() const override;
  bool Input(std::string_view bytes, bool end) override;
  bool input_open() const override { return static_cast<bool>(in_) && !input_ended_; }
  void Signal(int number) override;
  bool Resize(int rows, int cols) override;
  bool is_terminal() const override { return terminal_; }
  void Kill(Cause cause) override;

  void OnReport(const Report& report) override;
  void OnSupervisorLost() override;

 private:
  struct Source {
    Fd fd;
    Watch watch;
    uint8_t stream = 0;
  };

  Status MakePipes(const ProgramStart& start, Fd (&child)[3]);
  Status MakeTerminal(const ProgramStart& start, Fd (&child)[3]);
  // False: nothing is there now, or ever again.
  bool Read(Source& source);
  void WriteInput();

  SupervisorPool& pool_;
  const Identity& identity_;
  const OomCounter& oom_;
  Command command_;
  SupervisorPool::Job* job_ = nullptr;
  Source out_, err_;
  Fd in_;  // the pipe's end, or the terminal's again
  Watch in_watch_;
  std::string in_buffer_;
  bool input_ended_ = false;
  bool terminal_ = false;
  uint64_t timeout_ms_ = 0;
  Timer deadline_;
  Cause cause_ = Cause::kNone;
  bool lost_ = false;
  std::optional<uint64_t> oom_before_;
};

}  // namespace csb::agent
