"""A plan's `notify` entries with what the environment and files hold for them. No secret of it is ever shown."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import UsageError
from orchestrator.plan.model import Notify, Occasion


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that takes `{"text": ...}`."""

    label: str
    on: frozenset[Occasion]
    url: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments."""

    label: str
    on: frozenset[Occasion]
    argv: tuple[str, ...]


Target = Webhook | Command


def secret_names(entries: Sequence[Notify]) -> frozenset[str]:
    """Environment variables that hold an address or a token."""
    names = [name for entry in entries for name in (entry.url_env, entry.token_env) if name is not None]
    return frozenset(names)


def target_of(entry: Notify, number: int, folder: Path, environment: Mapping[str, str]) -> Target:
    """One entry, ready to be told. Raises UsageError, which names what is missing and never what is there."""
    at, on = f"notify[{number}]", frozenset(entry.on)
    if entry.command is not None:
        return Command(f"{at} ({os.path.basename(entry.command[0])})", on, entry.command)  # noqa: PTH119 - a program's name
    url = _held(f"{at}.url", entry.url_env, entry.url_file, folder, environment)
    assert url is not None, "the plan's rules see to it"
    where = entry.url_env or entry.url_file
    if not _is_http(url):
        raise UsageError(f"{at}: what {where} holds is no http or https address: put a webhook's whole address there")
    token = _held(f"{at}.token", entry.token_env, entry.token_file, folder, environment)
    return Webhook(f"{at} ({where})", on, url, token)


def _held(what: str, variable: str | None, file: str | None, folder: Path, environment: Mapping[str, str]) -> str | None:
    if variable is not None:
        value = environment.get(variable, "").strip()
        if not value:
            raise UsageError(f"{what}_env: the environment variable {variable} is not set: set it, or change the plan")
        return _one_line(value, f"{what}_env: what {variable} holds")
    if file is None:
        return None
    try:
        value = (folder / file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{what}_file: {file} cannot be read ({why}): mend it, or change the plan") from None
    if not value:
        raise UsageError(f"{what}_file: {file} is empty: put the address or token there, or change the plan")
    return _one_line(value, f"{what}_file: what {file} holds")


def _one_line(value: str, what: str) -> str:
    if not value.isascii() or any(ord(sign) < 33 for sign in value):
        raise UsageError(f"{what} is not one word of plain characters: it may have been pasted with a line break")
    return value


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
