"""Options that several commands share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from orchestrator.cli.streams import Say, voice
from orchestrator.model.safe import one_line
from orchestrator.plan.moments import parse_moment
from orchestrator.settings import ConnectionSettings, connection_settings

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_CONNECTION = (
    click.option("--endpoint", metavar="URL", help="Base URL up to the context path [env: ZSTACK_ENDPOINT]."),
    click.option("--ca-file", metavar="FILE", help="A CA to trust besides the system's (PEM)."),
    click.option("--insecure", is_flag=True, default=False, help="Do not verify the node's TLS certificate."),
)


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--endpoint, --ca-file, --insecure; credentials come from the environment alone."""
    for option in reversed(_CONNECTION):
        command = option(command)
    return command


def journal_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--journal."""
    return click.option(
        "--journal", metavar="URL", envvar="ORCHESTRATOR_JOURNAL", show_envvar=True,
        help="The journal: a path, or sqlite:////absolute/path.",
    )(command)  # fmt: skip


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else parse_moment(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from None


def window_end_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--window-end."""
    return click.option(
        "--window-end", callback=_moment, metavar="TIME",
        help="Another end of the window, with an offset: 2026-11-29T04:00:00+08:00.",
    )(command)  # fmt: skip


def settings_from(
    endpoint: str | None, ca_file: str | None, *, insecure: bool, say: Say | None = None
) -> ConnectionSettings:
    """Settings from those flags over the environment. Raises UsageError."""
    settings = connection_settings(endpoint=endpoint, ca_file=ca_file, insecure=insecure or None)
    if settings.insecure:
        (say or voice(None))(
            "warning",
            "--insecure: the node's certificate is NOT verified; whoever is in between reads the credentials",
        )
    return settings


def who_asks(settings: ConnectionSettings) -> str:
    """Whose credential it is, without its secret."""
    match settings.credential_kind():
        case "account":
            return f"account {one_line(settings.account_name or '')}"
        case "access key":
            return f"access key {one_line(settings.access_key_id or '')}"
        case _:
            return "whoever opened the given session"
