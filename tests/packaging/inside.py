# SPDX-License-Identifier: Apache-2.0
"""Runs in the fresh machine, where the package has just been installed and nothing else: uses it, upgrades it, removes it.
Without systemd, which is what maintainer scripts meet in a container."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import urllib.request

PACKAGE = next(pathlib.Path("/packages").glob("clara-sandbox_*.deb"))
ALICE = pathlib.Path("/data/sandboxes")


def run(*words, code=0, **kwargs):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **kwargs)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def apt(*words):
    return run("apt-get", "-y", "-q", "--no-install-recommends", *words)


def step(text):
    print("   ", text, flush=True)


class Serve:
    """The service, as a manager starts it: ready when it says so."""

    def __enter__(self):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("\0fresh")
        self.notify.settimeout(60)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        listener.close()
        self.process = subprocess.Popen(["clara-sandbox", "serve", f"--http.port={self.port}"], stderr=subprocess.PIPE,
                                        env={**os.environ, "NOTIFY_SOCKET": "@fresh"})
        assert b"READY=1" in self.notify.recv(1000)
        return self

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.load(answer)

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        log = self.process.communicate(timeout=60)[1]
        self.notify.close()
        assert self.process.returncode == 0, log


def complete(line):
    """What bash offers for a line, as readline would ask it."""
    script = """
      source /usr/share/bash-completion/completions/clara-sandbox
      compopt() { :; }
      COMP_LINE=$1 COMP_POINT=${#1} && _clara_sandbox && printf '%s\\n' "${COMPREPLY[@]}" """
    return run("bash", "-c", script, "bash", line).split()


def used():
    step("doctor")
    run("clara-sandbox", "doctor")
    step("a program, by root and by a user")
    assert run("clara-sandbox", "run", "-c", "print(6 * 7)") == "42\n"
    run("useradd", "--create-home", "carol")
    said = run("setpriv", "--reuid=carol", "--regid=carol", "--init-groups", "env", "HOME=/home/carol", "clara-sandbox",
               "run", "-c", "open('kept', 'w').write('x'); print('hers')")
    assert said == "hers\n", said
    step("the service")
    with Serve() as service:
        # The first request waits for what the backends say; /health does not.
        answer = service.post("/sandbox/alice/execute", {"code": "open('note', 'w').write('kept'); print(1 + 1)"})
        assert answer["output"] == "2\n", answer
        assert service.get("/health")["backends"]["bubblewrap"]["available"]
        enforced = service.get("/sandbox/alice/status")["enforced"]
        assert all(enforced[name]["enforced"] for name in ("seccomp", "userns", "no_new_privs", "network")), enforced
    step("plugins, configuration, completion")
    listed = {plugin["name"] for plugin in json.loads(run("clara-sandbox", "plugins", "--json"))["plugins"]}
    assert {"bubblewrap", "docker", "http", "stdio"} <= listed, listed
    assert json.loads(run("clara-sandbox", "config", "show", "--json"))["file"] == "/etc/clara-sandbox/clara-sandbox.conf"
    assert complete("clara-sandbox se") == ["serve"]
    assert complete("clara-sandbox run --ba") == ["--backend"]
    assert "bubblewrap" in complete("clara-sandbox run --backend ")
    assert complete("clara-sandbox serve --log.format=j") == ["json"], complete("clara-sandbox serve --log.format=j")
    assert "--http.port=" in complete("clara-sandbox serve --http.")


def note():
    return run("clara-sandbox", "run", "--user", "alice", "-c", "print(open('note').read())")


def upgraded():
    step("upgrading: a changed configuration and files stay")
    conf = pathlib.Path("/etc/clara-sandbox/clara-sandbox.conf")
    conf.write_text(conf.read_text() + "\n[log]\nlevel = warn\n" if "\n[log]\n" not in conf.read_text()
                    else conf.read_text().replace("#level = info", "level = warn"))
    run("clara-sandbox", "config", "check")
    apt("install", "--reinstall", str(PACKAGE))
    assert "level = warn" in conf.read_text()
    assert note() == "kept\n"


def removed():
    step("removing and purging: users' files stay")
    before = sorted(str(p) for p in ALICE.iterdir())
    assert before
    for action in ("remove", "purge"):
        said = apt(action, "clara-sandbox")
        assert "are kept in: /data/sandboxes /var/lib/clara-sandbox" in said, said
        assert sorted(str(p) for p in ALICE.iterdir()) == before
        assert not pathlib.Path("/usr/bin/clara-sandbox").exists()
        assert pathlib.Path("/etc/clara-sandbox/clara-sandbox.conf").exists() == (action == "remove")
    assert not pathlib.Path("/usr/lib/clara-sandbox").exists()
    assert not pathlib.Path("/etc/clara-sandbox").exists()
    assert pathlib.Path("/home/carol/.local/state/clara-sandbox").exists()
    step("and are there again for the next installation")
    apt("install", str(PACKAGE))
    assert note() == "kept\n"


def empty():
    step("without users' files nothing stays")
    run("rm", "-r", "/data/sandboxes", "/var/lib/clara-sandbox")
    said = apt("purge", "clara-sandbox")
    assert "kept" not in said, said
    assert not pathlib.Path("/data").exists()


used()
upgraded()
removed()
empty()
