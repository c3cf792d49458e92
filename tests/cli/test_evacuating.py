"""Hosts that are emptied, as an operator meets it: preview, question, report, codes, retry, restore, and every refusal."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Account, ClusterSpec, Guest, HostSpec, Scenario, VmGroup
from tests.cli.serving import serve
from tests.cli.support import GONE, PASSWORD, Cli, Node, fleet, quick, refused, wait_until
from tests.cli.test_terminal import Terminal

OLD = ("rack-a", "rack-b")
GROUPS = (
    VmGroup(name="app-{n}", count=4, hosts=OLD, guest=quick()),
    VmGroup(name="pinned", hosts=("rack-a",), pinned=True, guest=quick()),
)


def scenario(*groups: VmGroup) -> Scenario:
    """Two hosts to be emptied and two that have room, an administrator, and a tenant who may stop its own VMs."""
    hosts = tuple(HostSpec(name=f"rack-{n}") for n in "abcd")
    accounts = (*fleet().accounts, Account(name="tenant", password=PASSWORD))
    return Scenario(accounts=accounts, clusters=(ClusterSpec(name="rack", hosts=hosts),), vms=groups or GROUPS)


@pytest.fixture
def racks(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Node]:
    """A node with these hosts and VMs, or with the groups a test is parametrised with."""
    with Node(scenario(*getattr(request, "param", ()))) as made:
        cli.at(made)
        yield made
        wait_until(lambda: not made.open_sessions, "every session is logged out")


def plan(cli: Cli, hosts: Any = None, **sections: Any) -> Path:
    """A plan that empties these hosts, by migration and else by stops."""
    evacuate = {"vms": "migrate_then_stop", "host_timeout": "4s", "migrate": {"timeout": "4s"}}
    return cli.plan(
        targets={"hosts": hosts or {"names": list(OLD)}}, evacuate={**evacuate, **sections.pop("evacuate", {})}, **sections
    )


def states(node: Node) -> list[str]:
    """State of each host."""
    return node.ask(lambda: [host.state for host in node.sim.hosts.values()])


def changes(node: Node) -> int:
    """How many changes were sent to VMs and hosts that there are."""

    def count() -> int:
        known = {*node.sim.vms, *node.sim.hosts}
        words = {"stopVmInstance", "migrateVm", "changeHostState"}
        return sum(one.action in words and (one.vm_uuid or one.host_uuid) in known for one in node.sim.record.requests)

    return node.ask(count)


def test_preview_says_per_host_what_happens(cli: Cli, racks: Node) -> None:
    """What moves, what stops and in which state each host is; nothing is changed, and a run is held against it."""
    done = cli("preview", plan(cli), "--out", "p.json")
    assert (done.code, done.err) == (0, "")
    for words in (
        "5 targets",
        "4 to migrate",
        "1 to stop",
        "is not migrated but stopped: the node offers no host for it",
        "selector hosts: name=rack-a: 1 host",
        "2 hosts to be emptied: disabled first, and put into maintenance once they are empty",
        "rack-a (Enabled, Connected): 2 to migrate, 1 to stop, at most",
        "rack-b (Enabled, Connected): 2 to migrate, at most",
        "forecast: ",
    ):
        assert words in done.out, words
    kept = json.loads((cli.folder / "p.json").read_text("utf-8"))
    assert [(host["name"], host["moves"], host["stops"], host["stays"]) for host in kept["hosts"]] == [
        ("rack-a", 2, 1, 0),
        ("rack-b", 2, 0, 0),
    ]
    assert changes(racks) == 0
    assert cli("run", plan(cli), "--yes", "--preview", "p.json").code == 0


def test_there_and_back(cli: Cli, racks: Node) -> None:
    """Emptied: 0 and a report that names both hosts; restored: 0, open again, and with nothing to do a sentence."""
    done = cli("run", plan(cli), "--yes")
    assert done.code == 0, done
    report = cli.report()
    run_id, names = report["run"]["id"], [host["name"] for host in report["hosts"] if host["actions"]]
    assert done.err.startswith(f"run {run_id}\n")
    assert sorted(names) == list(OLD)
    assert (report["totals"]["migrated"], report["totals"]["stopped_clean"]) == (4, 1)
    assert states(racks) == ["Maintenance", "Maintenance", "Enabled", "Enabled"]
    assert done.out.startswith("All 2 hosts are empty and in maintenance. All 5 VMs are migrated or stopped (4 migrated, 1")
    for form in ("json", "html", "markdown", "csv", "junit"):
        assert "rack-a" in cli.inside("report", "last", "--format", form).out, form
    host = next(host for host in report["hosts"] if host["name"] == "rack-a")
    shown = cli.inside("show", "last", host["uuid"]).out
    assert shown.startswith(f"host rack-a {host['uuid']}: 3 steps")
    assert cli.inside("show", "last", "rack-a").out == shown
    assert cli.inside("show", "last", "app-1").out.startswith("app-1 ")
    refused(cli.inside("show", "last", "nobody"), 2, "'nobody' is no VM or host", "--format csv")
    assert [line.split()[1] for line in shown.splitlines() if "done" in line] == ["disable:", "empty:", "maintain:"]
    back = cli("restore", "last", "--yes")
    assert back.code == 0, back
    assert states(racks) == ["Enabled"] * 4
    assert cli.report()["totals"]["started"] == 1
    again = cli("restore", run_id, "--yes")
    assert (again.code, again.out) == (0, "")
    assert "nothing to restore: it stopped no VM and closed no host that is still as it left it" in again.err
    refused(cli("retry", cli.report()["run"]["id"], "--yes"), 3, "is a restore", f"orchestrator restore {run_id}")


def test_the_questions(cli: Cli, racks: Node) -> None:
    """Before a run and before its restore: how many hosts and VMs, at which node; no is no, and yes is yes."""
    terminal = Terminal(cli, "run", plan(cli))
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert "2 hosts to be emptied" in terminal.seen
    assert f"Empty 2 hosts of 5 VMs at {racks.endpoint}?" in terminal.seen
    terminal.type("no\n")
    assert terminal.end() == 3
    assert changes(racks) == 0
    terminal = Terminal(cli, "run", plan(cli))
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    terminal.type("yes\n")
    assert terminal.end() == 0
    sent = changes(racks)
    terminal = Terminal(cli, "restore", "last")
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert "2 hosts to open first: rack-" in terminal.seen
    assert "4 migrated, to stay where they are" in terminal.seen
    assert "elsewhere" not in terminal.seen
    assert f"Open 2 hosts and start 1 VM at {racks.endpoint}?" in terminal.seen
    terminal.type("no\n")
    assert terminal.end() == 3
    assert changes(racks) == sent


@pytest.mark.parametrize(
    "racks",
    [(*GROUPS[:1], VmGroup(name="stuck", hosts=("rack-b",), pinned=True, guest=Guest(behaviour="fails", fails_after=1)))],
    indirect=True,
)
def test_a_host_that_cannot_be_emptied(cli: Cli, racks: Node) -> None:
    """1, and it is named with what is left there; when that is off, `retry` takes up this host alone, and ends with 0."""
    done = cli("run", plan(cli, stop={"fallback": "none", "power_cut_after": "1200ms", "grace_timeout": "4s"}), "--yes")
    assert done.code == 1, done
    assert "rack-b" in done.out
    assert "stuck" in done.out
    assert states(racks)[:2] == ["Maintenance", "Disabled"]
    uuid = racks.ask(lambda: racks.sim.vm("stuck").uuid)
    racks.ask(partial(racks.sim.act, uuid, "stop"))
    again = cli("retry", "last", "--yes")
    assert again.code == 0, again
    assert [host["name"] for host in cli.report()["hosts"]] == ["rack-b"]
    assert states(racks)[:2] == ["Maintenance", "Maintenance"]
    nothing = cli("retry", "last", "--yes")
    assert nothing.code == 0
    assert "nothing" in nothing.err
    assert cli("restore", "last", "--yes").code == 0
    assert states(racks) == ["Enabled"] * 4


@pytest.mark.parametrize(
    "racks", [(*GROUPS[:1], VmGroup(name="pinned-{n}", count=3, hosts=OLD, pinned=True))], indirect=True
)
def test_a_run_that_ends_early(cli: Cli, racks: Node) -> None:
    """A crossed budget is 4: the other VMs are not reached, and both hosts stay disabled, each named with what is left."""
    sections = {"evacuate": {"vms": "migrate"}, "budget": {"failures": 0}}
    waves = [{"name": "stay", "where": [["name~=pinned-%"]]}, {"name": "rest", "after": ["stay"]}]
    limits = {"requests_per_second": 500, "concurrency": 1}
    done = cli("run", plan(cli, **sections, waves=waves, limits=limits), "--yes")
    assert done.code == 4, done
    totals = cli.report()["totals"]
    assert (totals["failed"], totals["not_reached"]) == (1, 6)
    assert states(racks)[:2] == ["Disabled", "Disabled"]
    for name in OLD:
        assert name in done.out


def test_plans_that_are_refused(cli: Cli, racks: Node) -> None:
    """An unknown host, a name that two have, hosts without `evacuate` or the reverse: one sentence, and nothing is sent."""
    for verb, *flags in (["preview"], ["run", "--yes"]):
        refused(cli.inside(verb, plan(cli, {"names": ["rack-x"]}), *flags), 3, "no host named rack-x", "targets.hosts.names")
        refused(cli.inside(verb, plan(cli, {"uuids": [GONE]}), *flags), 3, f"no host {GONE}", "targets.hosts.uuids")
        where = plan(cli, {"where": [["name=nobody"]]})
        refused(cli.inside(verb, where, *flags), 3, "no host matches 'name=nobody'", "targets.hosts.where")
        refused(cli.inside(verb, plan(cli, {"where": [["colour=red"]]}), *flags), 2, "colour=red", "targets.hosts")
        alone = cli.plan(targets={"hosts": {"names": list(OLD)}})
        refused(cli.inside(verb, alone, *flags), 2, "targets.hosts", "evacuate: {vms: stop, hosts: maintain}")
        refused(cli.inside(verb, cli.plan(evacuate={}), *flags), 2, "evacuate", "targets.hosts")
        both = plan(cli, {"names": ["rack-a"]}, guard={"protect": {"where": [["name=app-1"]]}})
        refused(cli.inside(verb, both, *flags), 3, "app-1", "must not be touched")
    racks.ask(lambda: setattr(racks.sim.host("rack-b"), "name", "rack-a"))
    refused(cli.inside("run", plan(cli, {"names": ["rack-a"]}), "--yes"), 3, "2 hosts named rack-a", "under uuids")
    assert changes(racks) == 0
    assert cli.inside("runs").out == ""


def test_a_host_that_appeared_since_the_preview(cli: Cli, racks: Node) -> None:
    """3 with the host's name, and nothing is sent; --allow-drift lets it through."""
    made = plan(cli, {"where": [["state=Enabled", "name?=rack-a,rack-b"]]})
    racks.ask(lambda: setattr(racks.sim.host("rack-b"), "state", "Disabled"))
    assert cli.inside("preview", made, "--out", "p.json").code == 0
    racks.ask(lambda: setattr(racks.sim.host("rack-b"), "state", "Enabled"))
    refused(cli.inside("run", made, "--yes", "--preview", "p.json"), 3, "host rack-b appeared")
    assert changes(racks) == 0
    assert cli("run", made, "--yes", "--preview", "p.json", "--allow-drift", "3").code == 0


@pytest.mark.parametrize(
    "racks", [(VmGroup(name="app-{n}", count=2, hosts=OLD, account="tenant", guest=quick()),)], indirect=True
)
def test_an_account_that_may_not_change_hosts(cli: Cli, racks: Node) -> None:
    """3 before anything is sent: it could not see whether a host is empty, so one that leaves the hosts is refused too."""
    tenant: dict[str, str | None] = {"ZSTACK_ACCOUNT_NAME": "tenant"}
    words = ("may not change the state of hosts (disable)", "use an account that may")
    for verb, *flags in (["preview"], ["run", "--yes"]):
        refused(cli.inside(verb, plan(cli), *flags, env=tenant), 3, *words)
    assert changes(racks) == 0
    assert cli.inside("runs").out == ""
    left = plan(cli, evacuate={"hosts": "leave"})
    refused(cli.inside("run", left, "--yes", env=tenant), 3, "may not see every VM on them", "use an account that may")
    assert states(racks) == ["Enabled"] * 4


def test_who_looks_on_is_told_of_hosts(cli: Cli, racks: Node) -> None:
    """The command that a plan notifies, the page while the run goes on, and the metrics: each knows its hosts."""
    told = cli.folder / "told.txt"
    program = cli.folder / "told.sh"
    program.write_text(f"#!/bin/sh\ncat >> {told}\necho >> {told}\n")
    program.chmod(0o700)
    notify = [{"command": [str(program)]}]
    one_by_one = {"migrate": {"timeout": "4s", "concurrency": 1}}
    page = serve(cli, plan(cli, evacuate=one_by_one, notify=notify), "--metrics-file", "run.prom", "--allow-commands")
    messages = page.events()
    done = page.running.wait()
    assert done.code == 0, done
    shown = messages[-1][1]["data"]["hosts"]
    assert {host["name"]: [deed["action"] for deed in host["actions"]] for host in shown if host["actions"]} == {
        "rack-a": ["disable", "empty", "maintain"],
        "rack-b": ["disable", "empty", "maintain"],
    }
    metrics = (cli.folder / "run.prom").read_text()
    run = cli.report()["run"]["id"]
    assert f'orchestrator_run_hosts{{run="{run}",action="maintain",outcome="done"}} 2' in metrics
    assert f'orchestrator_run_hosts_to_empty{{run="{run}"}} 2' in metrics
    texts = [json.loads(line)["text"] for line in told.read_text().splitlines() if line]
    assert "5 targets, 5 to migrate or else to stop; 2 hosts to be emptied" in texts[0]
    assert texts[-1].endswith(f"; 2/2 hosts in maintenance (run {run})")
