"""`simulate`: the simulated management node, for rehearsals and tests."""

import signal
from pathlib import Path

import anyio
import click

from orchestrator.cli.signals import received
from orchestrator.errors import UsageError
from orchestrator.simulator import Scenario, ScenarioError, SimulatedNode, load_scenario


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--hosts", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--vms", type=click.IntRange(min=0), default=300, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same fleet.")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Fleet, guests and faults from a file.",
)
@click.option("--time-scale", type=click.FloatRange(min=0.01, max=10000), default=1.0, show_default=True,
              help="Simulated seconds a real second; plans set stop.power_cut_after to 60 s divided by it.")  # fmt: skip
def simulate(*, port: int, hosts: int, vms: int, seed: int, scenario: Path | None, time_scale: float) -> int:
    """Serve a simulated management node on loopback until Ctrl-C (account admin, password `password`).

    Example: orchestrator simulate --port 8080 --time-scale 20
    """
    try:
        fleet = load_scenario(scenario) if scenario is not None else Scenario.fleet(hosts=hosts, vms=vms, seed=seed)
    except ScenarioError as error:
        raise UsageError(str(error)) from None
    return anyio.run(_serve, fleet, port, time_scale)


async def _serve(fleet: Scenario, port: int, time_scale: float) -> int:
    node = SimulatedNode(fleet, port=port, time_scale=time_scale)
    try:
        async with node:
            click.echo(
                f"simulated node at {node.endpoint}: {len(node.vms)} VMs on {len(node.hosts)} hosts, time x{time_scale:g}"
            )
            with received(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    break
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror or error}): give another one with --port, or 0"
        ) from None
    return 0
