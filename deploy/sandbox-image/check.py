"""Run inside the image by build: fails unless all that the image promises is there."""
import importlib
import os
import shutil
import sys

MODULES = """requests httpx aiohttp bs4 lxml.etree numpy pandas scipy.optimize sklearn.linear_model matplotlib.pyplot
    seaborn PIL.Image yaml pydantic jinja2 dateutil rich click tabulate tqdm pytest openpyxl docx pypdf venv""".split()
PROGRAMS = "python python3 pip git curl unzip zip ps file bash".split()

missing = [program for program in PROGRAMS if not shutil.which(program)]
for module in MODULES:
    try:
        importlib.import_module(module)
    except ImportError as error:
        missing.append(f"{module} ({error})")
if os.getuid() != 1000:
    missing.append(f"an unprivileged user (this is uid {os.getuid()})")
if not os.access("/workspace", os.W_OK):
    missing.append("a /workspace that its user can write")
if missing:
    sys.exit("the image lacks: " + ", ".join(missing))
print(f"Python {sys.version.split()[0]} and {len(MODULES)} modules are there")
