// SPDX-License-Identifier: Apache-2.0
#include "host/commands/complete.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/config/host_options.h"

namespace csb::host {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;
using testing::UnorderedElementsAre;

std::vector<std::string> Offers(const std::vector<std::string>& words) {
  Schema schema;
  EXPECT_TRUE(schema.Add("host", HostOptions()));
  return Completions(words, {&schema, {"bubblewrap", "docker"}, {{"incus", {"trust"}}}});
}

TEST(Completions, Commands) {
  EXPECT_THAT(Offers({""}),
              IsSupersetOf({"serve", "stdio", "run", "doctor", "explain", "plugins", "config", "incus"}));
  EXPECT_THAT(Offers({""}), Not(Contains("complete")));
  EXPECT_THAT(Offers({"se"}), ElementsAre("serve"));
  EXPECT_THAT(Offers({"--log.level=debug", "--config", "x", "do"}), ElementsAre("doctor"));
  EXPECT_THAT(Offers({"help", "ser"}), ElementsAre("serve"));
  EXPECT_THAT(Offers({"config", ""}), UnorderedElementsAre("show", "check"));
  EXPECT_THAT(Offers({"incus", ""}), ElementsAre("trust"));
}

TEST(Completions, OptionsAndKeys) {
  EXPECT_THAT(Offers({"run", "--ba"}), ElementsAre("--backend"));
  EXPECT_THAT(Offers({"serve", "--ba"}), IsEmpty());
  EXPECT_THAT(Offers({"serve", "--log"}), UnorderedElementsAre("--log.level=", "--log.format="));
  EXPECT_THAT(Offers({"config", "show", "--js"}), ElementsAre("--json"));
  EXPECT_THAT(Offers({"--ver"}), ElementsAre("--version"));
}

TEST(Completions, Values) {
  EXPECT_THAT(Offers({"run", "--backend", ""}), UnorderedElementsAre("bubblewrap", "docker"));
  EXPECT_THAT(Offers({"serve", "--log.format="}),
              UnorderedElementsAre("--log.format=text", "--log.format=json"));
  EXPECT_THAT(Offers({"serve", "--log.format", "j"}), ElementsAre("json"));
  EXPECT_THAT(Offers({"serve", "--sandbox.mode=a"}), ElementsAre("--sandbox.mode=auto"));
  EXPECT_THAT(Offers({"run", "--config", ""}), IsEmpty()) << "a file";
  EXPECT_THAT(Offers({"run", "-c", "--"}), IsEmpty()) << "code";
}

TEST(Completions, WhatBelongsToTheProgramIsLeftToTheShell) {
  EXPECT_THAT(Offers({"run", "file.py", "--ba"}), IsEmpty());
  EXPECT_THAT(Offers({"run", "--", "--ba"}), IsEmpty());
  EXPECT_THAT(Offers({"run", ""}), IsEmpty());
  EXPECT_THAT(Completions({}, {}), IsEmpty());
  EXPECT_THAT(Completions({"serve", "--log"}, {}), IsEmpty());
}

}  // namespace
}  // namespace csb::host
