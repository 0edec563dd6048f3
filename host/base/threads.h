// SPDX-License-Identifier: Apache-2.0
//
// threads.h: how the host starts threads. Signals belong to the main thread, so every other
// thread is started with all of them blocked (a thread inherits the mask, pthread_sigmask(3)):
//
//   const SignalsBlocked blocked;
//   thread_ = std::thread([this] { NameThread("csb-timers"); Run(); });
#pragma once

#include <pthread.h>
#include <signal.h>

namespace csb::host {

// Blocks all signals in this thread while it lives.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// Shown by ps -L and gdb; at most 15 bytes.
inline void NameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace csb::host
