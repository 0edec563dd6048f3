# SPDX-License-Identifier: Apache-2.0
"""The command line and the configuration: what is accepted, what is refused and with which words. Needs no engine."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import BINARY, BUILD

SOURCE = pathlib.Path(os.environ.get("CSB_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def sandbox(self, *args, env=None, **kwargs):
        clean = {"PATH": os.environ["PATH"], "HOME": self.folder.name, **(env or {})}
        return subprocess.run([BINARY, *args], env=clean, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, **kwargs)

    def file(self, text, name="test.conf"):
        path = os.path.join(self.folder.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def value(self, key, *args, env=None):
        shown = self.sandbox("config", "show", "--json", *args, env=env)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        return {o["key"]: o for o in json.loads(shown.stdout)["options"]}[key]


class Refusals(Case):
    def refused(self, *args, says, env=None):
        for command in (["config", "check"], ["serve"], ["stdio"], ["run", "-c", "1"], ["explain"], ["plugins"]):
            result = self.sandbox(*command[:1], *args, *command[1:], env=env)
            self.assertEqual(result.returncode, 2, (command, result))
            self.assertIn(says, result.stderr)
            self.assertEqual(result.stdout, "")

    def test_an_unknown_key_names_file_line_and_the_likely_one(self):
        path = self.file("[http]\nport = 1\n\n[bubblewrap]\nmemroy = 1g\n")
        self.refused("--config", path, says=f"{path}:5: unknown key 'bubblewrap.memroy'; did you mean bubblewrap.memory?")

    def test_a_bad_value_names_file_line_and_spelling(self):
        path = self.file("[bubblewrap]\nmemory = much\n")
        self.refused(f"--config={path}", says=f"{path}:2: bubblewrap.memory = 'much' is not a size; write it like 512m")

    def test_a_bad_environment_variable_is_named(self):
        self.refused(says="environment variable BUBBLEWRAP_SANDBOX_MEMORY: bubblewrap.memory = 'nan' is not a size",
                     env={"BUBBLEWRAP_SANDBOX_MEMORY": "nan"})
        self.refused(says="environment variable SANDBOX_MODE: sandbox.mode: 'bublewrap' is neither auto nor a backend; "
                          "did you mean bubblewrap?", env={"SANDBOX_MODE": "bublewrap"})

    def test_the_command_line_is_checked_the_same_way(self):
        self.refused("--http.port=70000", says="command line: http.port = '70000' is more than the maximum 65535")
        self.refused("--http.port", "-1", says="command line: http.port = '-1' is less than the minimum 0")
        self.refused("--http.prot=1", says="command line: unknown key 'http.prot'; did you mean http.port?")

    def test_every_mistake_is_told_at_once(self):
        path = self.file("[http]\nport = x\n[sandbox]\nmax_sandboxes = 0\n")
        result = self.sandbox("config", "check", "--config", path)
        self.assertIn(f"{path}:2:", result.stderr)
        self.assertIn(f"{path}:4:", result.stderr)

    def test_mistakes_as_json(self):
        path = self.file("[http]\nport = 99999\nprot = 1\n")
        result = self.sandbox("config", "check", "--json", "--config", path)
        found = json.loads(result.stdout)
        self.assertEqual((result.returncode, result.stderr, found["ok"]), (2, "", False))
        self.assertEqual([re.match(r"\S+?:(\d+): ", m)[1] for m in found["mistakes"]], ["2", "3"])
        good = json.loads(self.sandbox("config", "check", "--json").stdout)
        self.assertEqual(good, {"ok": True, "mistakes": [], "hints": [], "warnings": []})

    def test_a_file_that_is_none(self):
        self.refused("--config", "/nonexistent.conf", says="/nonexistent.conf: No such file or directory")
        self.refused("--config", "/", says="is not a regular file")
        self.refused("--config", "/dev/zero", says="is not a regular file")
        binary = os.path.join(self.folder.name, "binary")
        with open(binary, "wb") as f:
            f.write(bytes(range(256)) * 100)
        self.refused("--config", binary, says=f"{binary}:1:")
        with open(binary, "wb") as f:
            f.truncate(1 << 30)
        self.refused("--config", binary, says="is larger than 1 MiB")

    def test_misspelt_words_get_a_suggestion(self):
        for words, says in (
            (["rnu"], "unknown command 'rnu'; did you mean run?"),
            (["run", "--timout", "5", "x.py"], "unknown option '--timout'; did you mean --timeout?"),
            (["config", "shwo"], "unknown word 'shwo'; did you mean show?"),
            (["doctor", "extra"], "unexpected argument 'extra'"),
            ([], "which command?"),
            (["run"], "a FILE, -c CODE, or -- COMMAND"),
            (["run", "--"], "a command is expected after --"),
            (["run", "/nonexistent.py"], "'/nonexistent.py': No such file or directory"),
            (["run", "/"], "'/': Is a directory"),
            (["run", "--timeout", "nan", "-c", "1"], "--timeout 'nan' is not a time"),
            (["run", "--timeout", "0", "-c", "1"], "--timeout '0' is less than a millisecond"),
            (["run", "--timeout", "1h", "-c", "1"], "--timeout '1h' is more than sandbox.max_execution_timeout, which is 300 s"),
            (["run", "--user", "a\nb", "-c", "1"], "run.user"),
            (["run", "--user", "", "-c", "1"], "run.user: user_id: must not be empty"),
            (["run", "--backend", "nope", "-c", "1"], "'nope' is neither auto nor a backend"),
        ):
            result = self.sandbox(*words)
            self.assertEqual(result.returncode, 2, (words, result))
            self.assertIn(says, result.stderr)

    def test_a_key_of_a_plugin_that_is_not_there(self):
        path = self.file("[firecracker]\nimage = python:3.12-slim\n")
        self.refused("--config", path,
                     says=f"{path}:2: unknown key 'firecracker.image'; no plugin 'firecracker' was found")

    def test_a_secret_is_never_printed(self):
        path = self.file("[http]\napi_key = hush-hush\n")
        os.chmod(path, 0o644)
        for args in (["show"], ["show", "--json"], ["check"]):
            result = self.sandbox("config", *args, "--config", path)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotIn("hush-hush", result.stdout + result.stderr)
        self.assertIn("others may read it", result.stdout)
        bad = self.sandbox("config", "check", env={"SANDBOX_API_KEY": "hush-hush\x01"})
        self.assertEqual(bad.returncode, 2)
        self.assertNotIn("hush-hush", bad.stderr)


class Precedence(Case):
    def test_command_line_environment_file_default(self):
        path = self.file("[bubblewrap]\nmemory = 300m\n")
        key = "bubblewrap.memory"
        self.assertEqual(self.value(key)["value"], str(512 << 20))
        found = self.value(key, "--config", path)
        self.assertEqual((found["value"], found["where"]), (str(300 << 20), f"{path}:2"))
        env = {"BUBBLEWRAP_SANDBOX_MEMORY": "400MiB", "CLARA_SANDBOX_CONFIG": path}
        found = self.value(key, env=env)
        self.assertEqual((found["value"], found["where"]),
                         (str(400 << 20), "environment variable BUBBLEWRAP_SANDBOX_MEMORY"))
        found = self.value(key, "--bubblewrap.memory=1g", env=env)
        self.assertEqual((found["value"], found["source"]), (str(1 << 30), "command_line"))

    def test_a_file_in_the_users_folder_is_found(self):
        self.file("[http]\nport = 1234\n", ".config/clara-sandbox/clara-sandbox.conf")
        self.assertEqual(self.value("http.port")["value"], "1234")
        other = self.file("[http]\nport = 4321\n", "xdg/clara-sandbox/clara-sandbox.conf")
        xdg = os.path.dirname(os.path.dirname(other))
        self.assertEqual(self.value("http.port", env={"XDG_CONFIG_HOME": xdg})["value"], "4321")

    def test_the_environment_names_users_know(self):
        for name, key, text, value in (
            ("SANDBOX_MODE", "sandbox.mode", "bubblewrap", "bubblewrap"),
            ("SANDBOX_DATA_DIR", "sandbox.data_dir", "/srv/x", "/srv/x"),
            ("SANDBOX_MAX_CONTAINERS", "sandbox.max_sandboxes", "3", "3"),
            ("SANDBOX_MAX_EXECUTION_TIMEOUT", "sandbox.max_execution_timeout", "10m", "600"),
            ("SANDBOX_DEFAULT_EXECUTION_TIMEOUT", "sandbox.default_execution_timeout", "5", "5"),
            ("SANDBOX_API_HOST", "http.host", "127.0.0.1", "127.0.0.1"),
            ("SANDBOX_API_PORT", "http.port", "9", "9"),
            ("SANDBOX_MAX_BODY", "http.max_body", "1m", str(1 << 20)),
            ("SANDBOX_MAX_UPLOAD", "http.max_upload", "2g", str(2 << 30)),
            ("SANDBOX_RATE_LIMIT", "http.rate_limit", "0", "0"),
            ("BUBBLEWRAP_SANDBOX_TIMEOUT", "bubblewrap.timeout", "15m", "900"),
            ("BUBBLEWRAP_SANDBOX_CPU", "bubblewrap.cpu", "0.5", "0.5"),
            ("BUBBLEWRAP_SANDBOX_DISK", "bubblewrap.disk", "2g", str(2 << 30)),
            ("BUBBLEWRAP_SANDBOX_NETWORK", "bubblewrap.network", "pasta", "pasta"),
            ("INCUS_REMOTE", "incus.remote", "unix:///run/x.socket", "unix:///run/x.socket"),
            ("INCUS_PROJECT", "incus.project", "sandboxes", "sandboxes"),
            ("INCUS_SANDBOX_IMAGE", "incus.image", "images:debian/12/cloud", "images:debian/12/cloud"),
            ("INCUS_SANDBOX_TYPE", "incus.type", "vm", "vm"),
            ("INCUS_SANDBOX_TIMEOUT", "incus.timeout", "15m", "900"),
            ("INCUS_SANDBOX_MEMORY", "incus.memory", "1g", str(1 << 30)),
            ("INCUS_SANDBOX_CPU", "incus.cpu", "0.5", "0.5"),
            ("INCUS_SANDBOX_DISK", "incus.disk", "2g", str(2 << 30)),
            ("INCUS_SANDBOX_NETWORK", "incus.network", "bridge", "bridge"),
        ):
            self.assertEqual(self.value(key, env={name: text})["value"], value, name)
        self.assertTrue(self.value("http.api_key", env={"SANDBOX_API_KEY": "k"})["set"])

    def test_variables_of_plugins_that_are_not_there_do_no_harm(self):
        env = {"DOCKER_SANDBOX_IMAGE": "x", "FIRECRACKER_SANDBOX_MEMORY": "?", "SANDBOX_API_URL": "http://x", "SANDBOX_MODE": ""}
        self.assertEqual(self.value("sandbox.mode", env=env)["value"], "auto")

    def test_what_show_prints_can_be_read_again(self):
        shown = self.sandbox("config", "show", "--http.port=77", "--bubblewrap.memory=700m")
        path = self.file(shown.stdout)
        self.assertEqual(self.value("http.port", "--config", path)["value"], "77")
        self.assertEqual(self.value("bubblewrap.memory", "--config", path)["value"], str(700 << 20))


class Documentation(Case):
    def test_the_documented_configuration_is_the_schema(self):
        shown = self.sandbox("config", "show", "--defaults")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        documented = (SOURCE / "conf" / "clara-sandbox.conf").read_text(encoding="utf-8")
        self.assertEqual(documented, shown.stdout, "renew it: cmake --build BUILD --target conf")

    def test_documented_keys_and_defaults_are_those_in_force(self):
        options = {o["key"]: o for o in json.loads(self.sandbox("config", "show", "--json").stdout)["options"]}
        section, seen = "", set()
        for line in (SOURCE / "conf" / "clara-sandbox.conf").read_text(encoding="utf-8").splitlines():
            if header := re.fullmatch(r"\[(\S+)\]", line):
                section = header[1]
            elif setting := re.fullmatch(r"#([a-z_]+) =(?: (.*))?", line):
                key = f"{section}.{setting[1]}"
                seen.add(key)
                self.assertEqual(setting[2] or "", options[key]["default"] or "", key)
        self.assertEqual(seen, set(options))

    def test_the_documented_configuration_works_uncommented(self):
        text = (SOURCE / "conf" / "clara-sandbox.conf").read_text(encoding="utf-8")
        path = self.file(re.sub(r"(?m)^#([a-z_]+ = )", r"\1", text))
        result = self.sandbox("config", "check", "--config", path)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_examples_are_right(self):
        examples = sorted((SOURCE / "conf" / "examples").glob("*.conf"))
        self.assertTrue(examples)
        for example in examples:
            result = self.sandbox("config", "check", "--config", example)
            self.assertEqual(result.returncode, 0, f"{example}: {result.stderr}")

    def test_every_command_has_help(self):
        overview = self.sandbox("--help")
        self.assertEqual(overview.returncode, 0)
        for command in ("serve", "stdio", "run", "doctor", "explain", "plugins", "config"):
            self.assertRegex(overview.stdout, rf"(?m)^  {command} ")
            for words in ([command, "--help"], [command, "-h"], ["help", command]):
                result = self.sandbox(*words)
                self.assertEqual((result.returncode, result.stderr), (0, ""), words)
                self.assertIn(f"clara-sandbox {command}", result.stdout)
        self.assertNotIn("\x1b", overview.stdout)

    def test_version(self):
        self.assertRegex(self.sandbox("--version").stdout, r"^clara-sandbox \d+\.\d+\.\d+\n$")

    def test_a_full_disk_is_noticed(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([BINARY, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("No space left on device", result.stderr)


class Plugins(Case):
    def test_found_ones_are_listed(self):
        found = json.loads(self.sandbox("plugins", "--json").stdout)
        kinds = {p["name"]: p["kind"] for p in found["plugins"]}
        folder = BUILD / "lib/clara-sandbox/plugins"
        self.assertEqual(set(kinds), {path.stem for path in folder.glob("*.so")})
        self.assertEqual({name: kinds.pop(name) for name in ("bubblewrap", "docker", "http", "stdio")},
                         {"bubblewrap": "backend", "docker": "backend", "http": "frontend", "stdio": "frontend"})
        self.assertLessEqual(set(kinds.items()), {("incus", "backend"), ("remote", "backend")})
        self.assertEqual(found["refused"], [])
        text = self.sandbox("plugins").stdout
        for plugin in found["plugins"]:
            self.assertTrue(os.path.isabs(plugin["path"]))
            self.assertIn(plugin["path"], text)

    def test_a_refused_one_is_named_and_the_rest_is_served(self):
        folder = os.path.join(self.folder.name, "more")
        os.mkdir(folder)
        with open(os.path.join(folder, "broken.so"), "w") as f:
            f.write("not a library")
        usual = json.loads(self.sandbox("plugins", "--json").stdout)["folders"][0]
        found = json.loads(self.sandbox("plugins", "--json", f"--sandbox.plugin_dirs={folder}:{usual}").stdout)
        self.assertEqual(len(found["plugins"]), len(json.loads(self.sandbox("plugins", "--json").stdout)["plugins"]))
        self.assertEqual([r["path"] for r in found["refused"]], [f"{folder}/broken.so"])
        self.assertIn("broken.so", found["refused"][0]["reason"])

    def test_a_folder_that_is_not_there_is_told(self):
        result = self.sandbox("plugins", "--sandbox.plugin_dirs=/none/such")
        self.assertIn("there is no folder /none/such (command line: sandbox.plugin_dirs)", result.stdout)

    def test_keys_of_a_refused_plugin_point_at_it(self):
        folder = os.path.join(self.folder.name, "plugins")
        os.mkdir(folder)
        with open(os.path.join(folder, "http.so"), "w") as f:
            f.write("not a library")
        result = self.sandbox("config", "check", f"--sandbox.plugin_dirs={folder}", "--http.port=1")
        self.assertEqual(result.returncode, 2)
        self.assertIn("http.so", result.stderr)


class Doctor(Case):
    def test_every_finding_says_what_it_is(self):
        result = self.sandbox("doctor", "--json")
        found = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if found["ok"] else 1)
        for finding in found["findings"]:
            self.assertIn(finding["level"], ("ok", "warn", "fail"))
            self.assertTrue(finding["text"])
            if finding["level"] == "fail":
                self.assertTrue(finding["hint"], finding)
        names = {f["name"] for f in found["findings"]}
        self.assertLessEqual({"kernel", "seccomp", "user namespaces", "cgroups", "configuration", "plugins"}, names)

    def test_a_wrong_configuration_is_a_finding(self):
        result = self.sandbox("doctor", "--http.port=x")
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stdout, r"fail +configuration +command line: http.port = 'x' is not a whole number")
        self.assertRegex(result.stdout, r"ok +kernel")

    def test_without_backends_it_fails(self):
        result = self.sandbox("doctor", f"--sandbox.plugin_dirs={self.folder.name}")
        self.assertEqual(result.returncode, 1)
        self.assertIn("No backend can run code", result.stdout)


if __name__ == "__main__":
    unittest.main()
