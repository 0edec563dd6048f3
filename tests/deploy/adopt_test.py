"""The way from the Python service's data folder to the new service, copied and moved."""
import hashlib
import os
import tempfile
import unittest

from stack import KEY, SOURCE, Stack, run

SCRIPT = str(SOURCE / "deploy/adopt-python-service")


def old_folder(place):
    """A data folder as the Python service leaves it: one folder a user, owned by whomever."""
    for name, files in (("alice", {"notes/a.txt": "hello", "Größe.txt": "ü"}), ("a-b", {"x": "of a.b"})):
        for path, content in files.items():
            target = os.path.join(place, name, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8") as file:
                file.write(content)
    os.chmod(os.path.join(place, "alice/notes/a.txt"), 0o700)
    os.symlink("notes/a.txt", os.path.join(place, "alice/good"))
    os.symlink("/etc/shadow", os.path.join(place, "alice/bad"))
    os.symlink("/etc", os.path.join(place, "alice/worse"))
    os.mkfifo(os.path.join(place, "alice/pipe"))
    os.mkdir(os.path.join(place, "docker"))  # of this service
    with open(os.path.join(place, "map"), "w", encoding="utf-8") as file:
        file.write("a-b\ta.b\n")


SEEN = "cat notes/a.txt good Größe.txt; stat -c %U:%a notes/a.txt; ls -A"


class Adopt(unittest.TestCase):
    def adopt(self, *words, **environment):
        return run(SCRIPT, *words, env={**os.environ, "SANDBOX_API_KEY": KEY, **environment})

    def test_copies_through_the_service(self):
        with tempfile.TemporaryDirectory() as old, Stack() as stack:
            self.addCleanup(stack.forget)
            old_folder(old)
            more = ["--url", stack.url, "--cacert", stack.authority, "--map", old + "/map"]
            code, said = self.adopt(old, *more, SANDBOX_API_KEY="wrong")
            self.assertEqual((code, said.count("failed: ")), (1, 2), said)
            code, said = self.adopt(old, *more, "--dry-run")
            self.assertEqual((code, said.splitlines()), (0, ["a-b: would be a.b's", "alice: would be alice's"]))
            code, said = self.adopt(old, *more)
            self.assertEqual((code, said.splitlines()), (0, ["a-b: is a.b's", "alice: is alice's", "  left out: bad",
                                                             "  left out: pipe", "  left out: worse"]), said)
            # Docker makes the name of the sandbox's uid; the rights of files are kept.
            output = stack.ask("alice", "shell", command=SEEN)["output"]
            self.assertRegex(output, r"^hellohelloü\w+:700\nGröße.txt\ngood\nnotes\n$")
            self.assertEqual(stack.ask("a.b", "shell", command="cat x")["output"], "of a.b")
            stack.ask("alice", "shell", command="echo new > notes/a.txt")
            self.assertIn("alice: left out, has files already", self.adopt(old, *more)[1])
            self.assertTrue(os.path.exists(old + "/alice/notes/a.txt"))

    def test_moves_into_the_data_folder(self):
        files = ("docker-compose.yml", "docker-compose.data-dir.yml")
        with tempfile.TemporaryDirectory() as old:
            os.chmod(old, 0o711)
            old_folder(old)
            code, said = self.adopt(old, "--move-to", old, "--map", old + "/map")
            self.assertEqual((code, said.splitlines()), (0, ["a-b: is a.b's", "alice: is alice's"]), said)
            self.assertEqual(os.stat("/etc/shadow").st_uid, 0)
            key = hashlib.sha256(b"alice").hexdigest()[:32]
            self.assertEqual(os.stat(f"{old}/docker/{key}/notes").st_uid, 1000)
            with Stack(files=files, SANDBOX_DATA_DIR=old) as stack:
                self.addCleanup(stack.forget)
                output = stack.ask("alice", "shell", command=SEEN)["output"]
                self.assertRegex(output, r"^hellohelloü\w+:700\nGröße.txt\nbad\ngood\nnotes\npipe\nworse\n$")
                self.assertEqual(stack.ask("a.b", "shell", command="echo more >> x; cat x")["output"], "of a.bmore\n")


if __name__ == "__main__":
    unittest.main()
