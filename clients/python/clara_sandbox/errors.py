# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: the service's answer, or that there was none."""
from typing import Any, Mapping, Optional


class SandboxError(Exception):
    """The service refused or failed: what it said, and what can be done.

    status: of HTTP. code: a word such as "not_found" or "conflict". retry_after: seconds, where the service tells.
    A program that fails is no error: see Execution.success.
    """

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: Optional[float] = None) -> None:
        self.status = status
        self.code = str(body.get("code", ""))
        self.message = str(body.get("error") or f"HTTP {status}")
        self.detail = str(body.get("detail") or self.message)
        self.retry_after = retry_after
        super().__init__(f"{self.detail} (HTTP {status})")


class ConnectionFailed(Exception):
    """No answer came. `sent`: the request may have been carried out."""

    def __init__(self, message: str, sent: bool) -> None:
        self.sent = sent
        super().__init__(message)
