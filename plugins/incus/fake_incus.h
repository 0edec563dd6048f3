// SPDX-License-Identifier: Apache-2.0
//
// fake_incus.h: for tests: a server on a Unix socket that keeps instances, volumes, profiles and images in
// memory, for what a real one can't be made to do: answers that fail at one place, states that last
// microseconds, orders.
//
//   FakeIncus server;
//   server.Add({.name = "clara-01234567-2b…-1", .status = "Stopped", .config = …});
//   server.Fail("PUT", "/1.0/profiles/", 500, "no luck");
//   Engine engine(reactor, *HttpClient::Create(reactor, server.endpoint()), "default");
//   …
//   EXPECT_FALSE(server.Has("clara-01234567-2b…-1"));
//
// It says what incusd 6.0 says, word for word where somebody reads the words. An instance that runs has an
// agent, which comes through the websockets of an exec and answers every operation with a report. Changes
// have taken place when the answer is there, those that the real one does in the background too. No events:
// a test tells of them itself. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "plugins/common/http_fake_server.h"
#include "plugins/incus/engine.h"

namespace csb::incus {

class FakeIncus {
 public:
  struct Instance {
    std::string name;
    std::string status = "Running";
    Config config;
    Devices devices;
    std::string location = "none";
    std::string created;  // "": now
  };
  struct Volume {
    std::string name;
    Config config;
    std::string location = "none";
    std::string created;                    // "": now
    std::vector<std::string> used_by = {};  // besides the instances that are there
  };
  struct Image {
    std::string fingerprint, type = "container", alias;
    uint64_t size = 0;
    std::string server, remote_alias;  // that it was fetched from
  };

  FakeIncus();
  ~FakeIncus();
  const HttpEndpoint& endpoint() const { return server_->endpoint(); }

  void Add(Instance instance);
  void Add(Volume volume);
  void Add(ProfileInfo profile);                                                  // the ETag is the server's
  void AddMember(const std::string& name, const std::string& status = "Online");  // from then on a cluster
  void SetPools(std::vector<PoolInfo> pools);
  void SetImages(std::vector<Image> images);

  bool Has(const std::string& instance) const;
  bool HasVolume(const std::string& name) const;
  bool HasProfile(const std::string& name) const;
  Instance Of(const std::string& instance) const;  // empty when there is none
  Volume VolumeOf(const std::string& name) const;
  std::vector<Instance> Instances() const;
  size_t volumes() const;  // tools left out
  size_t profiles() const;
  size_t made() const;                          // instances so far; fillers of tools left out
  void RemoveVolume(const std::string& name);   // as by hand, whoever uses it
  void RemoveProfile(const std::string& name);  // likewise

  // Agents end without a word from now on.
  void Mute(bool mute);
  // The next `times` requests of that method whose target contains `part` are answered with this error.
  // `done`: the server does the work all the same.
  void Fail(const std::string& method, const std::string& part, int code, const std::string& message,
            int times = 1, bool done = false);
  // The next instances are made, but do not start.
  void FailStarts(int times);
  // Every answer is an error, as of a server that goes.
  void SetDown(bool down);
  // Runs on the connection's thread, once, right before that request is served.
  void Before(const std::string& method, const std::string& part, std::function<void()> fn);
  // "POST /1.0/instances?project=default"
  std::vector<std::string> requests() const;
  int Count(const std::string& start) const;  // requests that start with this

  // The instance ends, as by a kill: its agent's streams are cut.
  void End(const std::string& instance);
  void SetStatus(const std::string& instance, const std::string& status);
  // It is started, as by the host that made it.
  void Start(const std::string& instance);
  // Cuts the agents' streams, as a restart of the server does.
  void CutStreams();

 private:
  struct Exec;
  struct Rule {
    std::string method, part;
    int code = 0;
    std::string message;
    int times = 0;
    bool done = false;
    std::function<void()> before;
  };
  struct Reply {
    int code = 200;
    std::string metadata = "{}";  // of an error: its words
    std::string etag = "";
    bool async = false;
    std::string raw = "";  // the whole body
  };

  void Serve(csb::testing::FakeServer::Peer& peer);
  void Stream(csb::testing::FakeServer::Peer& peer, const std::string& request, const std::string& target);
  Reply Handle(const std::string& method, const std::string& target, const std::string& request);
  Reply Do(const std::string& method, const std::string& target, const std::string& request);
  Reply OfInstances(const std::string& method, const std::vector<std::string>& path, const std::string& query,
                    const std::string& body);
  Reply Create(const std::string& query, const std::string& body);
  Reply ChangeState(Instance& instance, const std::string& body);
  Reply Execute(const Instance& instance, const std::string& body);
  Reply OfProfiles(const std::string& method, const std::vector<std::string>& path,
                   const std::string& request, const std::string& body);
  Reply OfPools(const std::string& method, const std::vector<std::string>& path, const std::string& query,
                const std::string& body);
  Reply OfVolumes(const std::string& method, const std::string& name, const std::string& query,
                  const std::string& body);
  std::vector<std::string> UsersOf(const Volume& volume) const;
  std::string NewId();
  void CutStreamsOf(const std::string& instance);

  mutable std::mutex mutex_;
  std::map<std::string, Instance> instances_;
  std::map<std::string, Volume> volumes_;
  std::map<std::string, ProfileInfo> profiles_;
  std::map<std::string, std::string> members_;  // status by name
  std::vector<PoolInfo> pools_;
  std::vector<Image> images_;
  std::map<std::string, std::shared_ptr<Exec>> execs_;  // by operation
  std::map<std::string, std::string> operations_;       // what their /wait answers with
  std::map<std::string, std::string> outputs_;          // of recorded commands
  std::vector<Rule> rules_;
  std::vector<std::string> requests_;
  uint64_t next_ = 1;
  bool down_ = false, mute_ = false;
  size_t made_ = 0;
  int no_starts_ = 0;
  std::unique_ptr<csb::testing::FakeServer> server_;
};

}  // namespace csb::incus
