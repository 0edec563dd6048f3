# SPDX-License-Identifier: Apache-2.0
"""Makes the fresh machine, with the package in it, one that boots systemd and then runs booted.py. Nothing is started here."""
import os
import pathlib
import shutil
import subprocess


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


run("apt-get", "install", "-y", "-q", "--no-install-recommends", "systemd-sysv", "udev", "kmod", "dbus", "passt", "iproute2")
os.makedirs("/opt/test", exist_ok=True)
shutil.copy("/tests/booted.py", "/opt/test/")
for deb in pathlib.Path("/packages").iterdir():
    shutil.copy(deb, "/opt/test/")
pathlib.Path("/etc/systemd/system/booted.service").write_text("""[Unit]
Description=What tests/packaging does in a booted machine
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /opt/test/booted.py
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
ExecStopPost=/usr/bin/systemctl --no-block poweroff
""")
# Not part of the boot, so that whatever multi-user.target waits for is there before.
pathlib.Path("/etc/systemd/system/booted.timer").write_text("""[Timer]
OnActiveSec=0

[Install]
WantedBy=timers.target
""")
run("systemctl", "enable", "booted.timer")
for name in ("getty@tty1.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer",
             "serial-getty@ttyS0.service", "systemd-timesyncd.service"):
    subprocess.run(["systemctl", "mask", name], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for path in ("/usr/sbin/policy-rc.d", "/etc/machine-id"):
    pathlib.Path(path).unlink(missing_ok=True)
pathlib.Path("/etc/machine-id").touch()
run("rm", "-rf", "/var/lib/apt/lists")
