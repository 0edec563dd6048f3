# SPDX-License-Identifier: Apache-2.0
"""Commands that plugins bring (csb.command/1), on the command line: how they are found, told and ended. Needs no engine."""
import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import BINARY

PLUGINS = os.path.join(os.environ["CSB_BINARY_DIR"], "tests", "bad_plugins", "good")


class PluginCommands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def sandbox(self, *args, **kwargs):
        clean = {"PATH": os.environ["PATH"], "HOME": self.folder.name}
        result = subprocess.run([BINARY, f"--sandbox.plugin_dirs={PLUGINS}", *args], env=clean, capture_output=True,
                                text=True, timeout=60, stdin=subprocess.DEVNULL, check=False, **kwargs)
        return result.returncode, result.stdout, result.stderr

    def test_words_reach_the_command_as_they_are(self):
        self.assertEqual(self.sandbox("good", "echo", "a b", "--x", "", "--good.word=1"),
                         (0, "said: [a b] [--x] [] [--good.word=1]\n", "noted\n"))

    def test_keys_stand_before_and_behind_the_command(self):
        for words in (["--good.word=hey", "good", "echo"], ["good", "--good.word=hey", "echo"],
                      ["good", "echo", "--good.word", "hey"], ["good", "echo", "--good.word=hey", "--"]):
            self.assertEqual(self.sandbox(*words, "a")[:2], (0, "hey: [a]\n"), words)

    def test_the_configuration_file_counts(self):
        path = os.path.join(self.folder.name, "c.conf")
        pathlib.Path(path).write_text("[good]\nword = file\n", encoding="utf-8")
        self.assertEqual(self.sandbox("good", "echo", "--config", path, "a")[:2], (0, "file: [a]\n"))
        self.assertEqual(self.sandbox("--config", path, "good", "echo", "a")[:2], (0, "file: [a]\n"))

    def test_a_plugin_that_is_not_enabled_has_its_commands(self):
        self.assertEqual(self.sandbox("good", "--sandbox.backends=other", "echo", "a")[:2], (0, "said: [a]\n"))

    def test_errors_are_told_as_the_hosts_own(self):
        self.assertEqual(self.sandbox("good", "echo", "fail"),
                         (1, "", "clara-sandbox: told to fail\n  say another word\n"))
        self.assertEqual(self.sandbox("good", "echo"), (2, "", "clara-sandbox: no WORD was given\n  give at least one\n"))
        self.assertEqual(self.sandbox("good", "echo", "throw"), (1, "", "clara-sandbox: echo: told to throw\n"))

    def test_what_is_not_there(self):
        for words, says in ((["god", "echo"], "unknown command 'god'"),
                            (["good"], "good: which command?"),
                            (["good", "ehco"], "good: unknown command 'ehco'; did you mean echo?"),
                            (["good", "--force", "echo"], "good: unknown option '--force'"),
                            (["good", "echo", "--good.wrod=x", "a"], "unknown key 'good.wrod'; did you mean good.word?")):
            code, out, err = self.sandbox(*words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertIn(says, err)

    def test_help(self):
        code, out, _ = self.sandbox("--help")
        self.assertEqual(code, 0)
        self.assertIn("Commands of plugins\n  good echo WORD…  Print words\n", out)
        for words in (["good", "--help"], ["help", "good"]):
            code, out, _ = self.sandbox(*words)
            self.assertEqual(code, 0)
            self.assertIn("clara-sandbox good COMMAND …", out)
            self.assertIn("  echo      Print words\n", out)
        for words in (["good", "echo", "--help"], ["good", "--help", "echo"], ["help", "good", "echo"]):
            code, out, _ = self.sandbox(*words)
            self.assertEqual(code, 0)
            self.assertIn("clara-sandbox good echo [OPTIONS] WORD…", out)
            self.assertIn("Prints good.word and the words.", out)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([BINARY, f"--sandbox.plugin_dirs={PLUGINS}", "good", "echo", "a"], stdout=full,
                                    stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(result.returncode, 1, result.stderr)


if __name__ == "__main__":
    unittest.main()
