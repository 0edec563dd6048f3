// SPDX-License-Identifier: Apache-2.0
//
// Both ends of the REST interface are ours: what the HTTP frontend says it offers, the remote backend must
// find.
#include "plugins/remote/peer.h"

#include <gmock/gmock.h>

#include "plugins/http/openapi.h"

namespace csb::remote {
namespace {

using ::testing::IsEmpty;

TEST(Peer, OurOwnServiceLacksNothing) {
  const Peer peer = ReadPeer(http::OpenApiDocument());
  EXPECT_TRUE(peer.described);
  EXPECT_THAT(peer.Lacks(), IsEmpty());
  EXPECT_TRUE(peer.recursive);
  EXPECT_TRUE(peer.stat);
  EXPECT_TRUE(peer.entries);
  EXPECT_TRUE(peer.bound);
  EXPECT_NE(peer.title, "");
  EXPECT_EQ(peer.version, CSB_VERSION);
}

}  // namespace
}  // namespace csb::remote
