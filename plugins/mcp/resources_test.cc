// SPDX-License-Identifier: Apache-2.0
//
// Files as resources: their names, their pages, their content.
#include "plugins/mcp/resources.h"

#include <map>
#include <set>

#include "plugins/common/base64.h"
#include "plugins/mcp/session_testing.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;

TEST(ResourceNames, GoThereAndBack) {
  for (const auto& [user, path] : {std::pair("", "/workspace/a b%ü.txt"), {"al/ice", "/workspace/d/#?x"}}) {
    const auto name = ParseResourceUri(ResourceUri(user, path));
    ASSERT_TRUE(name) << path;
    EXPECT_EQ(name->user, user);
    EXPECT_EQ(name->path, path);
  }
  EXPECT_EQ(ResourceUri("", "/workspace/a.txt"), "sandbox:///workspace/a.txt");
  for (const char* bad : {"", "sandbox://", "sandbox:///", "file:///workspace/a", "sandbox:///a%0",
                          "sandbox:///a%00b", "sandbox:///a%ff", "sandbox:///a?b", "sandbox://alice"})
    EXPECT_FALSE(ParseResourceUri(bad)) << bad;
}

class ResourcesTest : public SessionTest {
 protected:
  // A folder's entries: names that end with / are folders.
  using Tree = std::map<std::string, std::set<std::string>>;
  void Have(Tree tree) {
    service_.On(CSB_OP_FILE_LIST, [tree](const RequestView& request, EventSink sink) {
      const auto payload = json::ParseObject(request.payload);
      const std::string path(*json::GetString(*payload, "path"));
      const auto folder = tree.find(path);
      if (folder == tree.end())
        return Result<std::shared_ptr<Operation>>(Error{CSB_E_NOT_FOUND, "none", "", false});
      std::string entries;
      for (std::string name : folder->second) {
        const bool is_folder = name.back() == '/';
        if (is_folder) name.pop_back();
        entries += std::string(entries.empty() ? "" : ",") + R"({"name":")" + name + R"(","type":")" +
                   (is_folder ? "dir" : "file") + R"(","size":3})";
      }
      sink.Done(R"({"path":")" + path + R"(","entries":[)" + entries + "]}");
      return FakeService::NoOperation();
    });
  }
  // The names of all pages, and how many pages there were.
  std::pair<std::vector<std::string>, int> All() {
    std::vector<std::string> names;
    int pages = 0;
    std::string cursor;
    do {
      Say(R"({"jsonrpc":"2.0","id":1,"method":"resources/list","params":{)" +
          (cursor.empty() ? "" : R"("cursor":")" + cursor + "\"") + "}}");
      const auto answer = Take();
      for (const auto& resource : json::Find(ResultOf(answer), "resources")->GetArray())
        names.emplace_back(*json::GetString(resource, "name"));
      cursor = json::GetString(ResultOf(answer), "nextCursor").value_or("");
      ++pages;
    } while (!cursor.empty() && pages < 100);
    return {names, pages};
  }
  void Read(const std::string& uri) {
    Say(R"({"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":")" + uri + "\"}}");
  }
};

TEST_F(ResourcesTest, TheFilesOfAllFoldersInOneOrder) {
  Initialize();
  Have({{"/workspace", {"b.txt", "a.py", "d/", ".cache/", "e/"}},
        {"/workspace/d", {"x", "y/"}},
        {"/workspace/d/y", {"z"}},
        {"/workspace/e", {"f"}}});
  EXPECT_EQ(All(), std::pair(std::vector<std::string>({"a.py", "b.txt", "d/x", "d/y/z", "e/f"}), 1));
  EXPECT_THAT(
      last_,
      HasSubstr(R"({"uri":"sandbox:///workspace/a.py","name":"a.py","mimeType":"text/x-python","size":3})"));
}

TEST_F(ResourcesTest, ManyFilesComeInPagesWithoutALossOrARepetition) {
  Initialize();
  Tree tree;
  for (int i = 0; i < 250; ++i) tree["/workspace/d"].insert("file" + std::to_string(i));
  tree["/workspace"] = {"d/", "top"};
  Have(tree);
  const auto [names, pages] = All();
  EXPECT_EQ(names.size(), 251u);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 251u);
  EXPECT_EQ(pages, 3);
}

TEST_F(ResourcesTest, AnEmptyTreeOfManyFoldersIsLookedThroughInParts) {
  Initialize();
  Tree tree;
  for (int i = 0; i < 150; ++i) {
    tree["/workspace"].insert("d" + std::to_string(i) + "/");
    tree["/workspace/d" + std::to_string(i)];
  }
  Have(tree);
  const auto [names, pages] = All();
  EXPECT_TRUE(names.empty());
  EXPECT_GT(pages, 2);
  EXPECT_LT(pages, 10);
}

TEST_F(ResourcesTest, AFolderThatWentIsPassedOver) {
  Initialize();
  Have({{"/workspace", {"gone/", "here/"}}, {"/workspace/here", {"f"}}});
  EXPECT_EQ(All().first, std::vector<std::string>({"here/f"}));
}

TEST_F(ResourcesTest, CursorsOfOthersAreRefused) {
  Initialize();
  Have({{"/workspace", {}}});
  for (const std::string& cursor :
       {std::string("x"), std::string(""), base64::Encode("[]"), base64::Encode(R"(["/etc",true,""])"),
        base64::Encode(R"(["/workspace/../etc",true,""])"), base64::Encode(R"(["/workspace/d/..",true,""])"),
        base64::Encode(R"(["/workspaces",true,""])"), base64::Encode(R"([1,2,3])")}) {
    Say(R"({"jsonrpc":"2.0","id":1,"method":"resources/list","params":{"cursor":")" + cursor + "\"}}");
    EXPECT_EQ(Code(Take()), -32602) << cursor;
  }
}

TEST_F(ResourcesTest, TextIsTextAndBytesAreBase64) {
  Initialize();
  for (const auto& [content, member] : {std::pair(std::string("hé\n"), R"("text":"hé\n")"),
                                        {std::string("\x00\xFF", 2), R"("blob":"AP8=")"}}) {
    service_.On(CSB_OP_FILE_READ, [content = content](const RequestView&, EventSink sink) {
      sink.Event(CSB_EVENT_META, R"({"size":)" + std::to_string(content.size()) + "}");
      sink.Output(CSB_STREAM_DATA, content);
      sink.Done("{}");
      return FakeService::NoOperation();
    });
    Read("sandbox://bob/workspace/f");
    Take();
    EXPECT_THAT(last_, HasSubstr(member));
    EXPECT_EQ(service_.requests().back().user, "bob");
    EXPECT_EQ(service_.requests().back().payload, R"({"path":"/workspace/f"})");
  }
}

TEST_F(ResourcesTest, WhatIsNotThereIsAnErrorWithItsUri) {
  service_.OnError(CSB_OP_FILE_READ, {CSB_E_NOT_FOUND, "no such file", "", false});
  Initialize();
  for (const char* uri : {"sandbox:///workspace/none", "test://none"}) {
    Read(uri);
    EXPECT_EQ(Code(Take()), -32002);
    EXPECT_THAT(last_, HasSubstr(R"("data":{"uri":")" + std::string(uri)));
    Say(R"({"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":")" + std::string(uri) +
        R"(","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",)"
        R"("io.modelcontextprotocol/clientCapabilities":{}}}})");
    EXPECT_EQ(Code(Take()), -32602);
  }
}

TEST_F(ResourcesTest, AFileTooLargeIsRefusedBeforeItIsRead) {
  Initialize();
  Hold(CSB_OP_FILE_READ);
  Read("sandbox:///workspace/f");
  running_[0]->sink().Event(CSB_EVENT_META, R"({"size":5000000})");
  EXPECT_EQ(Code(Take()), -32602);
  EXPECT_THAT(last_, HasSubstr("read_file"));
  EXPECT_TRUE(running_[0]->cancelled());
}

TEST_F(ResourcesTest, ABoundServerRefusesOtherUsers) {
  Open({.user = "clara", .only = true});
  Initialize();
  Read("sandbox://bob/workspace/f");
  EXPECT_EQ(Code(Take()), -32602);
  EXPECT_TRUE(service_.requests().empty());
}

}  // namespace
}  // namespace csb::mcp::testing
