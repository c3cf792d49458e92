"""Stops the VMs of a file of UUIDs as the vendor's SDK does: a thread for each that is in flight, a poll every POLL seconds.

Usage: ENDPOINT=... ACCOUNT=... DIGEST=... POLL=1 poller.py FILE CONCURRENCY TIMEOUT; prints "UUID stopped" or "UUID failed".
With a CONCURRENCY of 1 it is the serial loop of a command line that stops one VM after the other.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ENDPOINT, POLL = os.environ["ENDPOINT"], float(os.environ["POLL"])


def call(method: str, path: str, body: object = None, session: str | None = None) -> tuple[int, Any]:
    """Status and JSON of one request on a connection of its own; raises OSError where there is no answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"OAuth {session}"} if session else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{ENDPOINT}{path}", data=data, headers=headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, None


def stop(uuid: str, session: str, timeout: float) -> bool:
    """Did its job end in success?"""
    status, answer = call("PUT", f"/v1/vm-instances/{uuid}/actions", {"stopVmInstance": {"type": "grace"}}, session)
    if status != 202:
        return False
    job, until = answer["location"].rpartition("/")[2], time.monotonic() + timeout
    while time.monotonic() < until:
        time.sleep(POLL)
        status, answer = call("GET", f"/v1/api-jobs/{job}", session=session)
        if status != 202:
            return status == 200 and "inventory" in answer
    return False


def main() -> None:
    """All of them."""
    uuids, most, timeout = Path(sys.argv[1]).read_text("utf-8").split(), int(sys.argv[2]), float(sys.argv[3])
    login = {"logInByAccount": {"accountName": os.environ["ACCOUNT"], "password": os.environ["DIGEST"]}}
    session: str = call("PUT", "/v1/accounts/login", login)[1]["inventory"]["uuid"]

    def one(uuid: str) -> None:
        try:
            well = stop(uuid, session, timeout)
        except (OSError, ValueError, KeyError, TypeError):
            well = False
        sys.stdout.write(f"{uuid} {'stopped' if well else 'failed'}\n")  # in one piece: others write, too

    with ThreadPoolExecutor(most) as threads:
        list(threads.map(one, uuids))
    call("DELETE", f"/v1/accounts/sessions/{session}", session=session)


if __name__ == "__main__":
    main()
