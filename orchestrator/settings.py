"""Connection settings from flags and environment (`interface.md` 1)."""

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import UsageError

_HOST = re.compile(r"[^\s:/?#@\\\[\]]+|\[?[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?")

Port = Annotated[int, Field(ge=1, le=65535)]


class _Environment(EnvSettingsSource):
    """The environment, without a say in whom we trust: `--insecure` and `--ca-file` are flags alone."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The variable's value, its name, and whether it is JSON."""
        if field_name in {"ca_file", "insecure"}:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class ConnectionSettings(BaseSettings):
    """Where the node is and who asks. Secrets come from the environment only, never from a flag.

    `endpoint` is the whole base URL up to the context path; or `host` and `port` (default 8080, path `/zstack`).
    Exactly one credential: a session, an access key with its secret, or an account with its password.
    """

    model_config = SettingsConfigDict(
        env_prefix="ZSTACK_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    endpoint: str | None = Field(default=None, repr=False)  # may hold user info until it is refused
    host: str | None = Field(default=None, repr=False)
    port: Port = 8080
    session_id: SecretStr | None = None
    access_key_id: str | None = None
    access_key_secret: SecretStr | None = None
    account_name: str | None = None
    account_password: SecretStr | None = None
    ca_file: str | None = None
    insecure: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was given, then the environment; no file."""
        return init_settings, _Environment(settings_cls)

    def base_url(self) -> str:
        """The configured base, without a slash at its end. Raises UsageError with the remedy."""
        if self.endpoint is not None:
            return normal_endpoint(self.endpoint)
        if self.host is None:
            raise UsageError(
                "no management node is named: give --endpoint URL, or set ZSTACK_ENDPOINT "
                "(e.g. http://mn.example:8080/zstack) or ZSTACK_HOST"
            )
        host = self.host.strip()
        if not _HOST.fullmatch(host):
            raise UsageError("ZSTACK_HOST is not a host name or address: for a whole URL set ZSTACK_ENDPOINT")
        try:
            if ipaddress.ip_address(host).version == 6:
                host = f"[{host}]"
        except ValueError:
            pass
        return normal_endpoint(f"http://{host}:{self.port}/zstack")

    def credential_kind(self) -> str:
        """`session`, `access key` or `account`. Raises UsageError unless exactly one is complete."""
        for name in ("session_id", "access_key_id", "access_key_secret", "account_name", "account_password"):
            value = getattr(self, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
            if not text.encode("utf-8", "replace").decode("utf-8") == text:
                raise UsageError(f"ZSTACK_{name.upper()} is no UTF-8 text: set it in a UTF-8 environment")
        kinds = []
        if self.session_id is not None:
            kinds.append("session")
        if self.access_key_id is not None or self.access_key_secret is not None:
            if self.access_key_id is None or self.access_key_secret is None:
                raise UsageError("an access key needs both ZSTACK_ACCESS_KEY_ID and ZSTACK_ACCESS_KEY_SECRET: set both")
            kinds.append("access key")
        if self.account_name is not None or self.account_password is not None:
            if self.account_name is None or self.account_password is None:
                raise UsageError("an account needs both ZSTACK_ACCOUNT_NAME and ZSTACK_ACCOUNT_PASSWORD: set both")
            kinds.append("account")
        if not kinds:
            raise UsageError(
                "no credential is set: set ZSTACK_SESSION_ID, or ZSTACK_ACCESS_KEY_ID and ZSTACK_ACCESS_KEY_SECRET, "
                "or ZSTACK_ACCOUNT_NAME and ZSTACK_ACCOUNT_PASSWORD"
            )
        if len(kinds) > 1:
            raise UsageError(f"more than one credential is set ({' and '.join(kinds)}): unset all but one")
        return kinds[0]


def normal_endpoint(url: str) -> str:
    """A base URL in one spelling: lower-case scheme and host, no slash at the end. Raises UsageError.

    The URL is not echoed where it may hold a password.
    """
    if "@" in url:
        raise UsageError("the endpoint holds a user name: leave it out and set the credential in the environment")
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise UsageError("the endpoint is not a URL: write it like http://mn.example:8080/zstack") from None
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"the endpoint {url!r} is not an http or https URL: write it like http://mn.example:8080/zstack")
    if parts.query or parts.fragment:
        raise UsageError("the endpoint has a query or fragment: leave out all after the context path")
    if any(character.isspace() or not character.isprintable() for character in url.strip()):
        raise UsageError("the endpoint holds white space or control characters: remove them")
    host = parts.hostname.lower()
    if ":" in host:
        host = f"[{host}]"
    path = parts.path.rstrip("/")
    if path.endswith("/v1"):
        raise UsageError(f"the endpoint {url!r} ends in /v1: leave that out, it is appended")
    default = {"http": 80, "https": 443}[parts.scheme.lower()]
    return f"{parts.scheme.lower()}://{host}{f':{port}' if port not in {None, default} else ''}{path}"


def connection_settings(**flags: Any) -> ConnectionSettings:
    """Settings with flags over the environment; flags that are None do not count. Raises UsageError."""
    try:
        return ConnectionSettings(**{key: value for key, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"ZSTACK_{name} is not usable: {first['msg']}") from None
