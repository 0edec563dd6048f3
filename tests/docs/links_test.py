"""Links of the Markdown pages that lead to a file of this tree, or to a heading in one."""
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def anchors(page):
    """The names of a page's headings, as a forge makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    names = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        names.add(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return names


class Links(unittest.TestCase):
    def test_lead_somewhere(self):
        pages = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True,
                               check=False).stdout.split() or [str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md")]
        seen = 0
        for name in pages:
            page = ROOT / name
            if not page.exists():
                continue
            text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
            for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
                if "://" in target or target.startswith("mailto:"):
                    continue
                seen += 1
                file, _, heading = target.partition("#")
                place = (page.parent / file) if file else page
                with self.subTest(f"{name}: {target}"):
                    self.assertTrue(place.exists(), f"{name} links to {target}, which is not there")
                    if heading:
                        self.assertIn(heading, anchors(place), f"{name} links to {target}")
        self.assertGreater(seen, 50, "no links were found")


if __name__ == "__main__":
    unittest.main()
