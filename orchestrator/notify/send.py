"""Telling one target once. What goes wrong is a sentence without a secret, raised as `NotToldError`."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import anyio

from orchestrator.notify.targets import Command, Webhook

SECONDS = 10.0
"""How long a webhook may take to answer, and a command to end."""


class NotToldError(Exception):
    """Why a target was not told; `again` where it may work a moment later."""

    def __init__(self, why: str, *, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


async def post(target: Webhook, body: bytes) -> None:
    """The message to a webhook; redirects are not followed."""
    with anyio.move_on_after(SECONDS + 1) as limit:
        await anyio.to_thread.run_sync(_post, target, body, abandon_on_cancel=True)
    if limit.cancelled_caught:
        raise NotToldError("it did not answer in time", again=True)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _post(target: Webhook, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "zstack-orchestrator"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token}"
    # Its scheme was looked at: nothing but http and https gets here.
    request = urllib.request.Request(target.url, data=body, headers=headers, method="POST")  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotToldError(f"it answered {error.code}", again=error.code == 429 or error.code >= 500) from None
    except (OSError, ValueError) as error:  # whose words may hold the address
        raise NotToldError(f"it cannot be reached ({type(error).__name__})", again=True) from None
    except Exception as error:
        raise NotToldError(f"it answered what is not HTTP ({type(error).__name__})") from None


async def run(target: Command, message: bytes, environment: Mapping[str, str]) -> None:
    """The program, with the message on its standard input; what it writes goes nowhere, and after 10 s it is ended."""
    try:
        with tempfile.TemporaryFile() as words:  # and no pipe, which a program that does not read would break
            words.write(message)
            words.seek(0)
            process = await anyio.open_process(
                target.argv, stdin=words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NotToldError(f"it cannot be run ({getattr(error, 'strerror', None) or error})") from None
    code = None
    try:
        with anyio.move_on_after(SECONDS):
            code = await process.wait()
    finally:
        if process.returncode is None:
            with anyio.CancelScope(shield=True):
                _end(process.pid)
                await process.wait()
        await process.aclose()
    if code is None:
        raise NotToldError(f"it had not ended after {SECONDS:g} s, and was ended")
    if code != 0:
        raise NotToldError(f"it ended with code {code}")


def _end(pid: int) -> None:
    """The program and what it started."""
    try:
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
