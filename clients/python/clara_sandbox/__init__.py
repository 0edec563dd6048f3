# SPDX-License-Identifier: Apache-2.0
"""A client for the REST API of clara-sandbox. See client.py."""
from .client import Client, Sandbox
from .errors import ConnectionFailed, SandboxError
from .models import Context, Event, Execution, FileEntry, Output, Process, Shown

__all__ = ["Client", "ConnectionFailed", "Context", "Event", "Execution", "FileEntry", "Output", "Process", "Sandbox",
           "SandboxError", "Shown"]
