# SPDX-License-Identifier: Apache-2.0
"""What docs/clients.md gives to paste parses, and reaches the server in one of the two ways there are."""
import json
import pathlib
import re
import unittest

try:
    import tomllib
except ImportError:  # before Python 3.11
    tomllib = None

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.S | re.M)


def servers(config):
    """Each server that a configuration names, whatever the client calls it."""
    for key in ("mcpServers", "servers", "mcp_servers"):
        found = config.get(key, {})
        yield from found.values() if isinstance(found, dict) else found
    yield from (tool for tool in config.get("tools", []) if tool["type"] == "mcp")


class Clients(unittest.TestCase):
    def check(self, config):
        found = list(servers(config))
        self.assertTrue(found, config)
        for server in found:
            if "command" in server:
                self.assertEqual(pathlib.PurePath(server["command"]).name, "clara-sandbox")
                self.assertEqual(server["args"][0], "stdio")
            else:
                self.assertRegex(server.get("url") or server["server_url"], r"^https://[^/]+/mcp$")

    def test_json(self):
        self.assertGreaterEqual(len(blocks("json")), 6)
        for text in blocks("json"):
            self.check(json.loads(text))

    @unittest.skipIf(tomllib is None, "Python 3.11 reads TOML")
    def test_toml(self):
        for text in blocks("toml"):
            self.check(tomllib.loads(text))

    def test_every_client_has_a_block(self):
        for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
            self.assertIn("```", section, section.splitlines()[0])


if __name__ == "__main__":
    unittest.main()
