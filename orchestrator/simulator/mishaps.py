"""Faults on the wire: what the client's socket sees instead of the right answer."""

import asyncio

from aiohttp import web

from orchestrator.simulator.calls import Answer, html
from orchestrator.simulator.faults import Fault


def instead(fault: Fault, verdict: Answer) -> Answer:
    """The wrong answer that a fault gives; `verdict` is the node's 503."""
    match fault.kind:
        case "html":
            status = fault.status or 200
            return html(status, "OK" if status == 200 else "Bad Gateway")
        case "empty":
            return Answer(fault.status or 200)
        case "text":
            return Answer(fault.status or 200, b"the management node is somewhere else")
        case "too_many_requests":
            return Answer(429, b"Rate limit exceeded")
        case "error_500":
            return Answer(500, b"java.lang.NullPointerException")
        case "garbage":
            return Answer(200, b'{"inventories":{"uuid":7},"schema":[]}')
        case _:
            return verdict


def cut(request: web.BaseRequest) -> None:
    """Close the connection without a word."""
    if request.transport is not None:
        request.transport.abort()


async def break_off(request: web.BaseRequest, fault: Fault, answer: Answer) -> None:
    """Begin an answer and don't finish it: after the headers, in the middle of the body, or never ending."""
    transport = request.transport
    if transport is None:
        return
    size = 1 << 30 if fault.kind == "trickle" else max(len(answer.body), 64)
    transport.write(f"HTTP/1.1 {answer.status} \r\nContent-Length: {size}\r\n\r\n".encode())
    if fault.kind == "truncated":
        transport.write(answer.body[: len(answer.body) // 2])
    while fault.kind == "trickle" and not transport.is_closing():
        transport.write(b" ")
        await asyncio.sleep(fault.seconds)
    transport.close()
