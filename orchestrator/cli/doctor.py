"""`doctor`: every step between here and a stop, each with its remedy."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import click

from orchestrator.cli.options import connection_options, settings_from
from orchestrator.cli.signals import Signals
from orchestrator.cli.streams import complain
from orchestrator.clouds.interface import NodeAwayError
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.model.safe import one_line
from orchestrator.settings import ConnectionSettings

_SKEW = timedelta(minutes=2).total_seconds()


@click.command()
@connection_options
def doctor(*, endpoint: str | None, ca_file: str | None, insecure: bool) -> int:
    """Check reachability, version, login, clock, time zone and permission; name the remedy of what fails.

    Example: orchestrator doctor --endpoint https://mn.example:8443/zstack
    """
    settings = settings_from(endpoint, ca_file, insecure=insecure)
    return anyio.run(_watched, settings)


async def _watched(settings: ConnectionSettings) -> int:
    async with Signals():
        return await _doctor(settings)
    complain("interrupted: nothing was changed")
    return 130


async def _doctor(settings: ConnectionSettings) -> int:
    click.echo(f"endpoint    {settings.base_url()}")
    click.echo(f"credential  {settings.credential_kind()}")
    try:
        async with ZStackClient(settings) as client:
            async for step, word in _steps(client):
                click.echo(f"{step:<11} {word}")
    except NodeAwayError as error:
        raise RefusedError(
            f"FAILED: the node does not answer ({one_line(error.detail)}): check the endpoint and the network"
        ) from None
    except OrchestratorError as error:
        raise type(error)(f"FAILED: {error}") from None
    click.echo("all is well: 'orchestrator preview PLAN' is next")
    return 0


async def _steps(client: ZStackClient) -> AsyncIterator[tuple[str, str]]:
    cloud = ZStackCloud(client)
    version = await client.version()
    yield "reachable", "yes"
    yield "version", one_line(version or "not told by the node")
    facts = await cloud.facts()
    yield "login", "accepted"
    ahead = facts.clock_ahead_seconds or 0.0
    word = f"the node is {abs(ahead):.1f} s {'ahead of' if ahead >= 0 else 'behind'} this machine"
    if abs(ahead) > _SKEW:
        word += "; set both by the same time service, access keys fail at 15 minutes"
    yield "clock", word
    yield (
        "time zone",
        one_line(facts.time_zone or "not told; timestamps of the node cannot be compared with ours"),
    )
    denied = await cloud.permission()
    if denied is not None:
        raise RefusedError(f"this account may not stop VMs ({one_line(denied)}): use an account that may")
    yield "permission", "this account may stop VMs"
