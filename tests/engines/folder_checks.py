# SPDX-License-Identifier: Apache-2.0
"""What every script of an engine does with a folder that is not its own: a part of the test of each.

    class EngineTest(FolderChecks, unittest.TestCase):
        kind = Engine
"""
import os
import pathlib
import tempfile


class FolderChecks:
    def in_folder(self, folder):
        engine = self.kind()
        self.addCleanup(engine.folder.cleanup)
        engine.dir = str(folder)
        return engine

    def test_a_folder_of_somebody_else_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            kept = pathlib.Path(folder, "kept")
            kept.touch()
            os.symlink("/run", pathlib.Path(folder, "lock"))  # as /var has it
            engine = self.in_folder(folder)
            with self.assertRaisesRegex(RuntimeError, "other things than an engine"):
                engine.up()
            engine.script("down", "--purge")
            self.assertTrue(kept.exists())
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o755)

    def test_a_folder_of_another_kind_of_engine_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            kept = pathlib.Path(folder, "kept")
            kept.touch()
            pathlib.Path(folder, "lock").write_text("another.sh\n")
            engine = self.in_folder(folder)
            for action in (engine.up, lambda: engine.script("down", "--purge")):
                with self.assertRaisesRegex(RuntimeError, "an engine of another.sh"):
                    action()
            self.assertTrue(kept.exists())

    def test_a_folder_is_found_by_every_way_that_leads_to_it(self):
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(folder, f"{folder}/link")
            engine = self.in_folder(f"{folder}/link/../{os.path.basename(folder)}/none")
            with self.assertRaisesRegex(RuntimeError, f"in {folder}/none"):
                engine.script("env")
