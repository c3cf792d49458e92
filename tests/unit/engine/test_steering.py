"""Words to a run from elsewhere, in virtual time."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from orchestrator.journal.interface import Word
from orchestrator.model.outcome import Outcome, Reason
from tests.unit.engine.test_run import guest
from tests.unit.engine.test_window import SLOW, Trial
from tests.virtual import run_virtual


async def say(trial: Trial, what: str, vm: int | None = None) -> None:
    """A word from another terminal."""
    uuid = None if vm is None else f"{vm:032x}"
    await trial.journal.tell(trial.journal.runs()[0].id, Word("2027-01-15T08:00:00.000Z", "ops@jump2", what, uuid))


def steered(trial: Trial, words: Callable[[], Awaitable[None]]) -> None:
    """A run to its end, with somebody who talks to it."""

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await words()

    run_virtual(go)


def answers(trial: Trial) -> list[str | None]:
    """What the run made of each word."""
    return [word.answer for word in trial.journal.words(trial.journal.runs()[0].id)]


def test_a_pause_starts_nobody_and_go_ends_it() -> None:
    """Paused after the first: what is in flight ends, nobody begins for ten minutes; after go all have their turn."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], more=SLOW)

    async def words() -> None:
        await anyio.sleep(5.0)
        await say(trial, "pause")
        await say(trial, "pause")
        await anyio.sleep(600.0)
        await say(trial, "go")

    steered(trial, words)
    assert trial.report().totals["stopped_clean"] == 4
    assert [at < 10 or at > 600 for at in trial.sent_at] == [True] * 4
    assert sum(at < 10 for at in trial.sent_at) == 1
    assert answers(trial) == [
        "paused: nothing more is started, 1 VM in flight goes on", "the run is paused already", "the run goes on"
    ]  # fmt: skip
    assert [event.data["by"] for event in trial.told("run.paused") + trial.told("run.continued")] == ["ops@jump2"] * 2


def test_a_pause_does_not_hold_the_window_open() -> None:
    """Paused past the window's end: what waits is not reached."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], 60.0, more=SLOW)

    async def words() -> None:
        await anyio.sleep(5.0)
        await say(trial, "pause")

    steered(trial, words)
    report = trial.report()
    assert (report.totals["stopped_clean"], report.totals["not_reached"]) == (1, 3)
    assert report.run.ended_by == "window"


def test_skip_takes_one_out() -> None:
    """One that waits is skipped, by whom, and leaves exit code 0; one that has begun, ended, or is none, is told so."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], more=SLOW)

    async def words() -> None:
        await anyio.sleep(12.0)
        for vm in (2, 1, 0, 77):
            await say(trial, "skip", vm)
        await say(trial, "dance")

    steered(trial, words)
    report = trial.report()
    skipped = next(vm for vm in report.vms if vm.uuid == f"{2:032x}")
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, Reason.OPERATOR)
    assert skipped.evidence is not None
    assert skipped.evidence.text == "ops@jump2 took it out of the run; nothing was sent"
    assert f"{2:032x}" not in [request.vm_uuid for _, request in trial.cloud.sent]
    assert (report.run.status, report.run.exit_code) == ("finished", 0)
    assert answers(trial) == [
        "skipped", "too late: it has begun with it", "too late: it is stopped_clean", "it is no target of this run",
        "this version does not know that word",
    ]  # fmt: skip


def test_a_skipped_vm_holds_no_wave_up() -> None:
    """The last of the first wave is skipped: the second opens."""
    waves = "waves:\n  - {name: app, where: [[host_uuid=h0]]}\n  - {name: db, after: [app]}\n"
    trial = Trial([guest(n, n % 2, seconds=10.0) for n in range(4)], more=waves + SLOW)

    async def words() -> None:
        await anyio.sleep(2.0)
        await say(trial, "skip", 2)

    steered(trial, words)
    totals = [wave.totals for wave in trial.report().waves]
    assert [(each["stopped_clean"], each["skipped"]) for each in totals] == [(1, 1), (2, 0)]


@pytest.mark.parametrize("said", [5.0, 30.0])
def test_a_skip_is_heeded_by_whoever_carries_on(said: float) -> None:
    """Said just before the process died, or while none was there: never stopped. A pause has ended with its process."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], more=SLOW)

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(5.5):
            await run.run()
        await anyio.sleep(max(0.0, said - 5.0))
        await say(trial, "pause")
        await say(trial, "skip", 3)
        await (await trial.resume()).run()

    run_virtual(go)
    report = trial.report()
    assert [vm.outcome for vm in report.vms][3] is Outcome.SKIPPED
    assert report.totals["stopped_clean"] + report.totals["stopped_forced"] == 3


def test_what_was_answered_stays_answered() -> None:
    """Skipped and answered, then killed: whoever carries on leaves that word alone. An old pause is over, and told so."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], more=SLOW)

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:

            async def words() -> None:
                await anyio.sleep(2.0)
                await say(trial, "skip", 3)
                await anyio.sleep(2.5)
                await say(trial, "pause")
                tasks.cancel_scope.cancel()

            tasks.start_soon(words)
            await run.run()
        await anyio.sleep(20.0)
        await (await trial.resume()).run()

    run_virtual(go)
    assert answers(trial) == ["skipped", "the process that was to heed it has ended: say it again"]
    assert trial.report().totals["skipped"] == 1


def test_a_pause_said_while_the_run_is_taken_up() -> None:
    """The lock is ours, the run not yet begun: the pause is heeded."""
    trial = Trial([guest(n, seconds=10.0) for n in range(4)], more=SLOW)

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(5.0):
            await run.run()
        await anyio.sleep(20.0)
        run = await trial.resume()
        uuid = trial.journal.runs()[0].id
        await trial.journal.tell(uuid, Word(trial.clock.wall(), "ops@jump2", "pause"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(300.0)
            assert len(trial.cloud.sent) == 1
            await say(trial, "go")

    run_virtual(go)
    assert len(trial.cloud.sent) == 4
