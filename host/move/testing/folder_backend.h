// SPDX-License-Identifier: Apache-2.0
//
// folder_backend.h: a backend for tests whose sandboxes are folders of this machine and whose code runs in
// the machine's own Python, as an unprivileged user where the test is root.
//
//   FolderBackend docker("docker", folder, services);
//   docker.Live("alice");                                   // a sandbox runs
//   docker.Python("alice", "open('/workspace/a', 'w').write('x')");
//   docker.Before([](uint32_t op, const std::string&) -> std::optional<Error> { … });   // fail what comes
//
// Threads: Before's function is called on workers, several at once.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "clara_sandbox/cpp/blocking_backend.h"
#include "host/base/workers.h"
#include "host/plugin/fake_services.h"
#include "host/plugin/instance.h"

namespace csb::host {

// Enough workers for two backends that block.
class ManyWorkers : public FakeServices {
 public:
  bool PostForPlugin(std::function<void()> work) override { return many_.Post(std::move(work)); }

 private:
  Workers many_{24};
};

class FolderBackend {
 public:
  using Hook = std::function<std::optional<Error>(uint32_t op, const std::string& payload)>;

  FolderBackend(std::string name, const std::string& root, HostServices& services);

  BackendInstance* instance() { return instance_.get(); }
  const std::string& name() const { return name_; }

  void Before(Hook hook);
  void SpoilWrites(bool on);  // a bit of what is written is another one
  void SetAvailable(bool available);
  void SetNetwork(std::string value);
  void Start(const std::string& user);
  std::string Python(const std::string& user, const std::string& code);  // stdout and stderr
  bool Has(const std::string& user) const;
  bool Running(const std::string& user) const;
  // Everything that is in the workspace: types, permissions, times, sizes, contents.
  std::string Tree(const std::string& user);

 private:
  class Impl;
  Result<std::string> Run(const Request& request, BlockingBackend::Context& context);
  Result<std::string> Execute(const Request& request, BlockingBackend::Context& context);
  Result<std::string> ReadFile(const Request& request, BlockingBackend::Context& context);
  Result<std::string> WriteFile(const Request& request, BlockingBackend::Context& context);
  std::string Folder(const std::string& user) const;
  std::string Inside(const std::string& user, std::string text) const;
  int Interpret(const std::string& user, const std::string& code, std::string* out, std::string* err);
  std::string InfoOf(const std::string& user) const;

  const std::string name_, root_;
  csb_plugin descriptor_{};
  mutable std::mutex mutex_;
  Hook hook_;
  std::set<std::string> running_;
  bool spoil_ = false, available_ = true;
  std::string network_ = "none";
  std::unique_ptr<BackendInstance> instance_;
};

}  // namespace csb::host
