"""What `script/run` runs: a look around from inside the sandbox."""
import os
import platform
import socket

print("Hello from the sandbox: Python", platform.python_version(), "on", socket.gethostname())
print("user id", os.getuid(), "- processes seen:", sum(n.isdigit() for n in os.listdir("/proc")))
print("folders:", " ".join(sorted(os.listdir("/"))))
for path in ("/root", "/home", "/etc/shadow"):
    print(f"{path}:", "visible" if os.path.exists(path) else "not there")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
    print("network: reachable")
except OSError as error:
    print("network:", error.strerror or error)
