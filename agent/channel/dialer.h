// SPDX-License-Identifier: Apache-2.0
//
// dialer.h: finds the hosts: watches the control folder by inotify(7) and connects to each *.sock in it.
// A socket that refuses is tried again when the folder changes, and a few times soon after it was
// seen, since its host may have bound it without listening yet; one whose file is gone is dropped.
//
//   Dialer dialer(loop, "/run/control", [&](Fd socket, const std::string& path) { return Serve(...); });
//   if (auto started = dialer.Start(); !started) return started.error();
#pragma once

#include <functional>
#include <map>
#include <string>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

class Dialer {
 public:
  // Called with a connected socket and the path it was found at; false: it could not be served.
  using OnConnected = std::function<bool(Fd socket, const std::string& path)>;

  Dialer(Loop& loop, std::string folder, OnConnected on_connected);
  Status Start();
  // The connection that was handed out with this path has ended. Of another folder: nothing happens.
  void OnClosed(const std::string& path);

 private:
  struct Host {
    bool connected = false;
    int attempts = 0;
    int64_t connected_ns = 0;
    int64_t next_ns = 0;  // 0: wait for the folder to change
  };
  void OnChange();
  void Scan(bool changed);
  void Dial(const std::string& name, Host& host);
  void ScheduleRetry(Host& host);
  void ArmTimer();

  Loop& loop_;
  std::string folder_;
  OnConnected on_connected_;
  Fd inotify_;
  Watch watch_;
  Timer retry_;
  std::map<std::string, Host> hosts_;
};

}  // namespace csb::agent
