# SPDX-License-Identifier: Apache-2.0
"""Runs in a machine that has booted systemd: the unit of the package, its hardening, its watchdog, its socket."""
import json
import pathlib
import subprocess
import time
import traceback
import urllib.request

DEB = next(pathlib.Path("/opt/test").glob("clara-sandbox_*.deb"))
UNIT = "clara-sandbox.service"


def say(text):
    print("booted:", text, flush=True)


def run(*words, code=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert code is None or done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def shown(name, unit=UNIT):
    return run("systemctl", "show", "--value", "-p", name, unit).strip()


def post(user, what, **fields):
    request = urllib.request.Request(f"http://127.0.0.1:8080/sandbox/{user}/{what}", json.dumps(fields).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:8080{path}", timeout=120) as answer:
        return json.load(answer)


def until(what, holds, seconds=90):
    """systemd tells nobody who does not speak D-Bus, so this asks again and again."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.5)


def starts():
    assert shown("UnitFileState") == "disabled"
    assert shown("ActiveState") == "inactive", "the package starts nothing"
    run("systemd-analyze", "verify", "--man=no", UNIT, "clara-sandbox.socket")
    run("systemctl", "start", UNIT)  # returns once the service says READY=1
    assert shown("ActiveState") == "active"
    until("the watchdog's words", lambda: shown("StatusText").startswith("healthy"))
    say("status: " + shown("StatusText"))
    say(run("systemd-analyze", "security", UNIT).strip().splitlines()[-1])


def enforces():
    answer = post("alice", "execute", code="open('note', 'w').write('kept'); import os; print(os.getuid())")
    assert answer["success"], answer
    enforced = get("/sandbox/alice/status")["enforced"]
    weak = {name: told for name, told in enforced.items() if not told["enforced"]}
    assert not weak, weak
    say("enforced: " + ", ".join(f"{name} by {told['by']}" for name, told in sorted(enforced.items())))
    group = pathlib.Path(f"/sys/fs/cgroup/system.slice/{UNIT}")
    assert (group / "clara-sandbox").is_dir(), [p.name for p in group.iterdir()]


def survives_memory():
    answer = post("alice", "execute", code="x = bytearray(2 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1")
    assert answer["oom_killed"] or "MemoryError" in (answer["error"] or ""), answer
    assert post("alice", "shell", command="cat note")["output"] == "kept"
    assert shown("ActiveState") == "active" and shown("NRestarts") == "0", "one sandbox's memory is no reason to end"
    say("a sandbox out of memory: " + (answer["error"] or "")[:80])


def drop_in(text, name="test.conf"):
    path = pathlib.Path(f"/run/systemd/system/{UNIT}.d/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    run("systemctl", "daemon-reload")


def without_drop_in():
    run("rm", "-r", f"/run/systemd/system/{UNIT}.d")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)


def network():
    run("modprobe", "dummy")  # pasta wants a default route; where it leads does not matter here
    for words in ("link add up0 type dummy", "addr add 192.0.2.1/24 dev up0", "link set up0 up",
                  "route add default via 192.0.2.254"):
        run("ip", *words.split())
    drop_in("[Service]\nEnvironment=BUBBLEWRAP_SANDBOX_NETWORK=pasta\n")
    run("systemctl", "restart", UNIT)
    answer = post("net", "execute", code="print(open('/proc/net/dev').read().count(':'))")
    assert answer["output"] == "2\n", answer  # a loopback and pasta's
    without_drop_in()
    say("pasta")


def docker_only():
    run("groupadd", "docker")
    run("useradd", "--system", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "clara-sandbox")
    drop_in(pathlib.Path("/usr/share/doc/clara-sandbox/examples/docker-only.conf").read_text())
    run("systemd-analyze", "verify", "--man=no", UNIT)
    run("systemctl", "stop", UNIT)
    run("systemctl", "start", UNIT)
    status = pathlib.Path(f"/proc/{shown('MainPID')}/status").read_text()
    assert "CapEff:\t0000000000000000" in status and "Uid:\t0\t" not in status, status
    until("a word about Docker", lambda: shown("StatusText").startswith("unhealthy; docker: unavailable"))
    say("docker-only.conf: " + run("systemd-analyze", "security", UNIT).strip().splitlines()[-1])
    without_drop_in()


def reloads_and_restarts():
    pid = shown("MainPID")
    run("systemctl", "reload", UNIT)
    assert shown("ActiveState") == "active" and shown("MainPID") == pid
    for _ in range(2):  # the second time below a control group that had sandboxes in it
        run("systemctl", "restart", UNIT)
        assert post("alice", "shell", command="cat note")["output"] == "kept"
        weak = {k: v for k, v in get("/sandbox/alice/status")["enforced"].items() if not v["enforced"]}
        assert not weak, weak
    assert shown("MainPID") != pid
    say("reload, and two restarts over running sandboxes")


def comes_back():
    drop_in("[Service]\nWatchdogSec=6\n")
    run("systemctl", "restart", UNIT)
    post("alice", "shell", command="true")
    time.sleep(15)  # more than two intervals
    assert shown("NRestarts") == "0", "the watchdog ended a service that was well"
    run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    until("a restart after a kill", lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active")
    assert post("alice", "shell", command="cat note")["output"] == "kept"
    run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)  # hangs, as far as anybody can see
    until("a restart by the watchdog", lambda: shown("NRestarts") == "2" and shown("ActiveState") == "active")
    assert post("alice", "shell", command="cat note")["output"] == "kept"
    say("killed: started anew; hung: ended by the watchdog, started anew")
    without_drop_in()


def stops():
    post("alice", "shell", command="true")
    began = time.monotonic()
    run("systemctl", "stop", UNIT)
    assert shown("Result") == "success", shown("Result")
    left = pathlib.Path(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs")
    assert not left.exists() or not left.read_text()
    say(f"stopped in {time.monotonic() - began:.1f} s, nothing left running")


def socket():
    run("systemctl", "start", "clara-sandbox.socket")
    assert shown("ActiveState") == "inactive"
    assert post("alice", "shell", command="cat note")["output"] == "kept"  # the request starts the service
    assert shown("ActiveState") == "active"
    before = shown("MainPID")
    run("systemctl", "restart", "--no-block", UNIT)
    assert post("alice", "shell", command="cat note")["output"] == "kept"  # nobody is refused meanwhile
    until("the restart", lambda: shown("MainPID") not in (before, "0") and shown("ActiveState") == "active")
    say("started by its socket")


def wrong_configuration():
    run("systemctl", "stop", "clara-sandbox.socket", UNIT)
    environment = pathlib.Path("/etc/clara-sandbox/environment")
    text = environment.read_text()
    environment.write_text(text + "SANDBOX_API_PORT=many\n")
    run("systemctl", "start", UNIT, code=1)
    assert shown("NRestarts") == "0", "a wrong configuration stays wrong"
    environment.write_text(text + "SANDBOX_API_KEY=0123456789abcdef0123456789abcdef\nSANDBOX_API_HOST=127.0.0.1\n")
    run("systemctl", "reset-failed", UNIT)
    run("systemctl", "start", UNIT)
    try:
        get("/info")
        raise AssertionError("no key was asked for")
    except urllib.error.HTTPError as error:
        assert error.code == 401
    environment.write_text(text)
    run("systemctl", "restart", UNIT)
    say("a wrong configuration, and a key from the environment")


def upgrade_and_removal():
    pid = shown("MainPID")
    run("dpkg", "-i", str(DEB))
    assert shown("MainPID") not in (pid, "0") and shown("ActiveState") == "active", "an upgrade restarts what runs"
    assert post("alice", "shell", command="cat note")["output"] == "kept"
    said = run("dpkg", "-r", "clara-sandbox")
    assert "/data/sandboxes" in said
    assert shown("ActiveState") == "inactive"
    run("dpkg", "-P", "clara-sandbox")
    assert shown("LoadState") == "not-found"
    assert any(pathlib.Path("/data/sandboxes").glob("alice-*"))
    say("upgraded while it ran, removed, purged; files stay")


try:
    for part in (starts, enforces, survives_memory, network, reloads_and_restarts, comes_back, stops, socket,
                 wrong_configuration, docker_only, upgrade_and_removal):
        part()
    say("all is well")
except BaseException:
    say("failed:\n" + traceback.format_exc() + run("journalctl", "-b", "-n", "60", "--no-pager", "-u", UNIT, code=None))
