// SPDX-License-Identifier: Apache-2.0
#include "host/commands/check_probe.h"

#include <gtest/gtest.h>

namespace csb::host {
namespace {

using Level = Finding::Level;

TEST(CheckProbe, TheNoteOfABackendThatWorksIsShownWithItsHint) {
  Findings findings;
  EXPECT_TRUE(
      CheckProbe("incus",
                 R"({"available":true,"reason":"the storage pool default is of kind dir","hint":"use btrfs",)"
                 R"("version":"Incus 6.0.4","isolation":"system containers","enforces":{}})",
                 findings));
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[0].level, Level::kOk);
  EXPECT_EQ(findings[0].name, "backend incus");
  EXPECT_EQ(findings[0].text, "Incus 6.0.4; system containers");
  EXPECT_EQ(findings[0].hint, "") << "it belongs to the note";
  EXPECT_EQ(findings[1].level, Level::kOk);
  EXPECT_EQ(findings[1].name, "backend incus");
  EXPECT_EQ(findings[1].text, "the storage pool default is of kind dir");
  EXPECT_EQ(findings[1].hint, "use btrfs");
}

TEST(CheckProbe, AHintWithoutANoteIsShownToo) {
  Findings findings;
  EXPECT_TRUE(CheckProbe("x", R"({"available":true,"hint":"update it"})", findings));
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].text, "available");
  EXPECT_EQ(findings[0].hint, "update it");
}

TEST(CheckProbe, WhatAnEngineSaysIsOneLineOfPlainText) {
  Findings findings;
  EXPECT_TRUE(
      CheckProbe("x", R"({"available":true,"reason":"a\n\u001b[31mfail  kernel","version":"1"})", findings));
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[1].text, "a\\n\\x1b[31mfail  kernel");
}

TEST(CheckProbe, NotAvailableSaysWhy) {
  Findings findings;
  EXPECT_FALSE(CheckProbe("x", R"({"available":false,"reason":"no daemon","hint":"start it"})", findings));
  EXPECT_FALSE(CheckProbe("x", "{}", findings));
  EXPECT_FALSE(CheckProbe("x", "no json", findings));
  ASSERT_EQ(findings.size(), 3u);
  for (const Finding& finding : findings) EXPECT_EQ(finding.level, Level::kFail);
  EXPECT_EQ(findings[0].text, "no daemon");
  EXPECT_EQ(findings[0].hint, "start it");
  EXPECT_EQ(findings[1].text, "not available");
  EXPECT_EQ(findings[2].text.find("its probe's answer is "), 0u) << findings[2].text;
}

TEST(CheckProbe, LimitsThatAreNotEnforcedFollow) {
  Findings findings;
  EXPECT_TRUE(CheckProbe("x",
                         R"({"available":true,"version":"1","reason":"note","enforces":{)"
                         R"("memory":{"enforced":true},"disk":{"enforced":false,"by":"no quota"},)"
                         R"("userns":{"enforced":false,"by":"one uid"},"odd":7}})",
                         findings));
  ASSERT_EQ(findings.size(), 4u);
  EXPECT_EQ(findings[2].level, Level::kWarn);
  EXPECT_EQ(findings[2].text, "disk is not enforced: no quota");
  EXPECT_NE(findings[2].hint.find("sandbox.allow_unenforced names disk"), std::string::npos);
  EXPECT_EQ(findings[3].level, Level::kOk);
  EXPECT_EQ(findings[3].text, "userns is not enforced: one uid");
}

}  // namespace
}  // namespace csb::host
