# SPDX-License-Identifier: Apache-2.0
"""The manual pages and the shell's completion: everything that there is stands in them. Needs no engine."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import BINARY

SOURCE = pathlib.Path(os.environ.get("CSB_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


def sandbox(*words):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=60, check=True).stdout


def page(section):
    return sandbox("manual", section).replace("\\-", "-")


class Manual(unittest.TestCase):
    def test_every_command_and_option_of_the_help(self):
        text = page("1")
        commands = re.findall(r"^  ([a-z]+) {2,}", sandbox("--help"), re.M)
        self.assertGreater(len(commands), 6)
        for command in commands:
            self.assertIn(f".SS {command}\n", text)
            options = re.findall(r"(--[a-z-]+)", sandbox(command, "--help").split("Options", 1)[1])
            self.assertIn("--config", options)
            for option in options:
                self.assertIn(option, text, command)

    def test_every_key_with_its_variables(self):
        text = page("5")
        for option in json.loads(sandbox("config", "show", "--json"))["options"]:
            self.assertIn(f"\\fB{option['key']}\\fR", text)
            for name in option["environment"]:
                self.assertIn(name, text)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_groff_has_nothing_to_say(self):
        for section in ("1", "5"):
            said = subprocess.run(["groff", "-man", "-Tutf8", "-z", "-ww"], input=sandbox("manual", section),
                                  capture_output=True, text=True, timeout=60).stderr
            self.assertEqual([line for line in said.splitlines() if "can't break line" not in line], [])

    def test_the_same_each_time(self):
        self.assertEqual(page("1"), page("1"))
        self.assertNotIn(str(BINARY), page("1") + page("5"))


class Completion(unittest.TestCase):
    def offers(self, line, breaks=None):
        script = ('source "$2"; compopt() { :; }; [ -z "$3" ] || COMP_WORDBREAKS=$3; COMP_LINE=$1; COMP_POINT=${#1}; '
                  '_clara_sandbox; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash", line, SOURCE / "deploy/completion/clara-sandbox.bash", breaks or ""],
                              env={**os.environ, "PATH": f"{BINARY.parent}:{os.environ['PATH']}"}, capture_output=True,
                              text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_in_bash(self):
        self.assertEqual(self.offers("clara-sandbox se"), ["serve"])
        self.assertEqual(self.offers("clara-sandbox run --ba"), ["--backend"])
        self.assertIn("bubblewrap", self.offers("clara-sandbox run --backend "))
        self.assertEqual(self.offers("clara-sandbox config sh"), ["show"])
        self.assertIn("--http.port=", self.offers("clara-sandbox serve --http.po"))
        # A file's name is bash's own affair.
        self.assertEqual(self.offers("clara-sandbox run hel"), [])

    def test_a_value_where_bash_breaks_at_the_equals_sign_and_where_not(self):
        self.assertEqual(self.offers("clara-sandbox serve --log.format=j"), ["json"])
        self.assertEqual(self.offers("clara-sandbox serve --log.format=j", breaks=" "), ["--log.format=json"])


if __name__ == "__main__":
    unittest.main()
