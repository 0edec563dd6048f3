// SPDX-License-Identifier: Apache-2.0
//
// fake_engine.h: for tests: an engine on a Unix socket that keeps containers and volumes in memory, for what
// a real one can't be made to do: answers that fail at one place, states that last microseconds, orders.
//
//   FakeEngine engine;
//   engine.Add({.name = "clara-01234567-alice-2b…", .status = "exited", .labels = …});
//   engine.Fail("POST", "/rename", "500 Internal Server Error", "no luck");
//   Engine client(HttpClient::Create(reactor, engine.endpoint()));
//   …
//   EXPECT_FALSE(engine.Has("clara-01234567-alice-2b…"));
//
// A container that is started has an agent: it comes to each socket in its control folder and answers every
// operation with a report. Its init is the test's own process. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "plugins/common/http_fake_server.h"
#include "plugins/docker/engine.h"

namespace csb::docker {

class FakeEngine {
 public:
  struct Container {
    std::string id;  // "": one is made up
    std::string name;
    std::string status = "running";
    Labels labels;
    std::string volume, folder;  // of the workspace
    std::string control;         // the host's folder; "": no agent
    std::string network = "none";
    uint64_t memory = 0, pids = 0, nano_cpus = 0;
  };

  FakeEngine();
  ~FakeEngine();
  const HttpEndpoint& endpoint() const { return server_->endpoint(); }

  std::string Add(Container container);  // its id
  void AddVolume(const std::string& name, const Labels& labels);
  bool Has(const std::string& container) const;  // by name or id
  bool HasVolume(const std::string& name) const;
  Container Of(const std::string& container) const;  // empty when there is none
  std::vector<Container> All() const;
  size_t volumes() const;
  size_t Most() const;  // containers at once so far
  // Agents of containers that are started from now on close each connection without a word.
  void Mute(bool mute);
  std::string image_id = "sha256:0b2a";  // of whatever image is asked for; set before the requests

  // The next `times` requests of that method whose target contains `part` are answered with this status (as
  // "409 Conflict") and message. `done`: the engine does the work all the same.
  void Fail(const std::string& method, const std::string& part, const std::string& status,
            const std::string& message, int times = 1, bool done = false);
  // Every answer is a failure, as of a daemon that hangs or goes.
  void SetDown(bool down);
  // Runs on the connection's thread, once, right before that request is served.
  void Before(const std::string& method, const std::string& part, std::function<void()> fn);
  // "POST /containers/create?name=…", the API's version left out.
  std::vector<std::string> requests() const;
  int Count(const std::string& start) const;  // requests that start with this

  // The container ends, as by a kill: its agent's connections are cut; events tell it.
  void End(const std::string& container);
  void SetStatus(const std::string& container, const std::string& status);  // tells nobody
  void Event(const std::string& id, const std::string& action);
  void RawEvent(const std::string& bytes);
  // Waits until somebody listens to events.
  bool WaitForListener();
  // Cuts the streams of events.
  void CutEvents();

 private:
  struct Agent;
  struct Rule {
    std::string method, part, status, message;
    int times = 0;
    bool done = false;
    std::function<void()> before;
  };
  struct Reply {
    std::string status = "200 OK", body = "{}";
  };

  void Serve(csb::testing::FakeServer::Peer& peer);
  void Events(csb::testing::FakeServer::Peer& peer);
  Reply Handle(const std::string& method, const std::string& target, const std::string& body);
  Reply Do(const std::string& method, const std::string& target, const std::string& body);
  Reply OfContainer(const std::string& method, const std::string& ref, const std::string& rest,
                    const std::string& query);
  Reply Create(const std::string& name, const std::string& body);
  Reply OfVolumes(const std::string& method, const std::string& name, const std::string& query,
                  const std::string& body);
  std::map<std::string, Container>::iterator Find(const std::string& ref);
  void Tell(const std::string& id, const std::string& action);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Container> containers_;  // by id
  std::map<std::string, Labels> volumes_;
  std::map<std::string, std::string> networks_;  // bodies
  std::map<std::string, std::shared_ptr<Agent>> agents_;
  std::vector<std::shared_ptr<Agent>> gone_;  // joined at the end
  std::vector<Rule> rules_;
  std::vector<std::string> requests_;
  std::vector<std::string> events_;
  int listeners_ = 0, cuts_ = 0;
  uint64_t next_ = 1;
  bool down_ = false, stopping_ = false, mute_ = false;
  size_t most_ = 0;
  std::unique_ptr<csb::testing::FakeServer> server_;
};

}  // namespace csb::docker
