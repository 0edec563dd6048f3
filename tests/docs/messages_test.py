"""What tables of messages in docs/ quote is what the programs say: a message that was changed fails here.

A table whose first column is called `message` has quoted messages in it; `…` stands for what varies. Each part between
must be in a string of one source file. FOREIGN are the words of other programs, that users look for all the same."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ("docs/troubleshooting.md", "docs/docker.md", "docs/incus.md")
SOURCES = [("agent host plugins", (".cc", ".h")), ("deploy", (".lua", ".conf", ".yml"))]
LITERAL = re.compile(r'R"(\w*)\((.*?)\)\1"|"((?:[^"\\\n]|\\.)*)"', re.S)
FOREIGN = {
    # Docker, Podman and Compose
    "Client sent an HTTP request to an HTTPS server", "no space left on device", "port is already allocated",
    "cannot start the container: network … not found",
    # Incus and its client
    'The remote "unix://…" doesn\'t exist', "Certificate is restricted", "Use of low-level config … is forbidden",
    'The "shift" property cannot be used …', "Failed getting remote image info", "Disk quota exceeded",
    "Failed to run: … forkstart",
}


def strings(text):
    """The strings of a source file; those that stand side by side are one."""
    out, end = [], None
    for found in LITERAL.finditer(text):
        words = found[2] if found[2] is not None else found[3].replace('\\"', '"').replace("\\n", "\n")
        if end is not None and not text[end:found.start()].strip():
            out[-1] += words
        else:
            out.append(words)
        end = found.end()
    return "\0".join(out)


def quoted(page):
    """(line number, message) of all that a page quotes as messages."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| message |"):
            inside = True
        elif inside:
            yield from ((number, text) for text in re.findall(r"`([^`]+)`", line.split(" | ")[0]))


class Messages(unittest.TestCase):
    def test_what_is_quoted_is_said(self):
        sources = []
        for folders, endings in SOURCES:
            for folder in folders.split():
                for path in sorted((ROOT / folder).rglob("*")):
                    if path.suffix in endings and "_test" not in path.name and "testing" not in path.name:
                        text = path.read_text(encoding="utf-8")
                        sources.append(strings(text) if path.suffix in (".cc", ".h") else text)
        seen = 0
        for page in PAGES:
            for number, message in quoted(ROOT / page):
                seen += 1
                # What failed is told as `cannot ` and what was tried.
                parts = [part.strip(" ") for part in message.removeprefix("cannot ").split("…") if part.strip(" ")]
                with self.subTest(f"{page}:{number}"):
                    self.assertTrue(message in FOREIGN or any(all(p in s for p in parts) for s in sources),
                                    f"{page}:{number}: nothing says `{message}`")
        self.assertGreater(seen, 100, "the tables were not found")


if __name__ == "__main__":
    unittest.main()
