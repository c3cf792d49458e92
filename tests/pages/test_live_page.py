"""The page of a run that goes on, in a browser."""

import contextlib
import dataclasses
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.serving import Page, serve
from tests.cli.support import Cli, Node, wait_until

ONE = {"requests_per_second": 500, "concurrency": 1}
SLOW = Guest(shutdown=between(40, 50))
slow = pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=6, guest=SLOW),)], indirect=True)


@contextmanager
def opened(browser: Browser, page: Page, url: str | None = None) -> Iterator[tuple[Tab, list[str]]]:
    """The page in a tab of its own, and what it complained about; it asks nobody but its own server."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab, complaints = context.new_page(), list[str]()
    asked = list[str]()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(url or page.url)
    yield tab, complaints
    assert {urlsplit(one).netloc for one in asked} == {f"127.0.0.1:{page.port}"}
    assert not [one for one in asked if page.token in urlsplit(one)._replace(fragment="").geturl()]
    assert context.cookies() == []
    context.close()


def paused(cli: Cli) -> Page:
    """A run that has begun and waits for a word: however slow the machine, the page is open before its end."""
    page = serve(cli, cli.plan(limits=ONE))
    wait_until(lambda: cli("steer", "last", "pause").code == 0, "the run can be told to pause")
    return page


@slow
def test_a_run_is_followed_to_its_end(browser: Browser, cli: Cli, node: Node) -> None:
    """VMs go from no outcome over in flight to their outcome, without a reload; at the end stands the report's verdict."""
    page = paused(cli)
    with opened(browser, page) as (tab, complaints):
        expect(tab.locator("#status")).to_have_text(re.compile("^Live: as of "), timeout=20_000)
        expect(tab.locator("#now")).to_contain_text("in flight, paused")
        assert cli("steer", "last", "go").code == 0
        flying = tab.get_by_role("row").filter(has_text="in flight")
        expect(flying).to_have_count(1, timeout=20_000)
        name = flying.locator("td").first.inner_text()
        expect(tab.locator(".legend")).to_contain_text("in flight")
        search = tab.get_by_label("Search")
        search.fill(name)
        expect(tab.get_by_role("row", name=re.compile(f"^{name} stopped "))).to_be_visible(timeout=20_000)
        expect(search).to_have_value(name)  # what somebody typed survives what comes
        expect(tab.locator("#status")).to_have_text("The run is over; this page changes no more.", timeout=40_000)
        assert page.running.wait().code == 0
        expect(tab.locator(".verdict p").first).to_have_text("All 6 VMs are stopped.")
        expect(tab.locator("#now")).to_be_empty()
        expect(tab.get_by_role("heading", name=re.compile("^Hosts"))).to_be_visible()
        assert complaints == []


class Relay:
    """A line between browser and run that can be cut. The run is asked under its own name, as a tunnel would."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = list[socket.socket]()
        self.cut = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                if self.cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk.replace(b"Host: 127.0.0.1:%d" % self.port, b"Host: 127.0.0.1:%d" % self._target))
            sink.shutdown(socket.SHUT_WR)

    def lose(self) -> None:
        """Every connection is gone, and none is made until `cut` is False again."""
        self.cut = True
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more."""
        self._listener.close()
        for one in self._open:
            one.close()


@slow
def test_a_lost_connection_is_made_again(browser: Browser, cli: Cli, node: Node) -> None:
    """Without the network the page says that it may be old, keeps what it had, and goes on by itself afterwards."""
    page = paused(cli)
    relay = Relay(page.port)
    with opened(browser, dataclasses.replace(page, port=relay.port)) as (tab, _):
        status = tab.locator("#status")
        expect(status).to_have_text(re.compile("^Live: as of "), timeout=20_000)
        relay.lose()
        expect(status).to_have_text(re.compile("what stands here may be old"), timeout=20_000)
        assert tab.locator("#vms tbody tr[data-index]").count() == 6
        relay.cut = False
        expect(status).to_have_text(re.compile("^Live: as of "), timeout=30_000)
        assert cli("steer", "last", "go").code == 0
        expect(status).to_have_text("The run is over; this page changes no more.", timeout=40_000)
        assert page.running.wait().code == 0
    relay.close()


@slow
def test_without_the_token_the_page_says_what_to_do(browser: Browser, cli: Cli, node: Node) -> None:
    """An address that was not copied whole shows nothing of the run, and asks for the whole of it."""
    page = serve(cli, cli.plan(limits=ONE))
    with opened(browser, page, page.url.partition("#")[0]) as (tab, _):
        expect(tab.locator("#status")).to_have_text(re.compile("open the whole address that the run has printed"))
        assert "app-" not in tab.content()
    assert page.running.wait().code == 0
