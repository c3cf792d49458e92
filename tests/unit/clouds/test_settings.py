"""Connection settings: every spelling of the endpoint, every combination of credentials, no secret shown."""

import traceback
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from orchestrator.clouds.zstack.auth import AccessKey, AccountLogin, GivenSession
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.errors import LoginError, OrchestratorError, UsageError
from orchestrator.settings import ConnectionSettings, connection_settings, normal_endpoint

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://mn:8080/zstack", "http://mn:8080/zstack"),
        ("http://mn:8080/zstack/", "http://mn:8080/zstack"),
        ("http://mn:8080/zstack///", "http://mn:8080/zstack"),
        ("  http://mn:8080/zstack\n", "http://mn:8080/zstack"),
        ("HTTP://MN.Example:8080/zstack", "http://mn.example:8080/zstack"),
        ("https://mn.example:8443/zstack", "https://mn.example:8443/zstack"),
        ("http://mn:8080", "http://mn:8080"),
        ("http://mn:8080/", "http://mn:8080"),
        ("http://mn", "http://mn"),
        ("http://mn/a/b", "http://mn/a/b"),
        ("http://10.0.0.1:8080/Zstack", "http://10.0.0.1:8080/Zstack"),
        ("http://[2001:DB8::1]:8080/zstack", "http://[2001:db8::1]:8080/zstack"),
        ("http://[::1]/zstack", "http://[::1]/zstack"),
    ],
)
def test_every_spelling_of_an_endpoint_becomes_one(url: str, base: str) -> None:
    """Scheme and host in lower case, IPv6 in brackets, no slash at the end; the path may be empty."""
    assert normal_endpoint(url) == base
    assert normal_endpoint(base) == base
    assert ConnectionSettings(endpoint=url).base_url() == base


@pytest.mark.parametrize(
    "url",
    [
        f"http://admin:{SECRET}@mn:8080/zstack",
        f"http://{SECRET}@mn:8080/zstack",
        f"http://:{SECRET}@mn/zstack",
        f"admin:{SECRET}@mn:8080/zstack",
        f"http:/admin:{SECRET}@mn/zstack",
        f"http:\\\\admin:{SECRET}@mn/zstack",
        f"http://admin:{SECRET}/x@mn:8080/zstack",
        f"http://admin:12/{SECRET}@mn:8080/zstack",
        f"http://admin:{SECRET}#x@mn:8080/zstack",
        f"http://admin:1?{SECRET}@mn:8080/zstack",
        f"ftp://admin:{SECRET}@mn/zstack",
        f"http://admin:{SECRET}@[::1/zstack",
        f"http://mn:8080/zstack?password={SECRET}",
        f"http://mn:8080/zstack#{SECRET}",
    ],
)
def test_user_info_is_refused_and_not_echoed(url: str) -> None:
    """Whatever may hold a password is refused, and appears neither in the message nor in its traceback."""
    with pytest.raises(UsageError) as caught:
        normal_endpoint(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value.with_traceback(None)))
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mn:8080/zstack/v1", "/v1"),
        ("http://mn:8080/zstack/v1/", "/v1"),
        ("http://mn:8080/zstack?x=1", "query"),
        ("http://mn:8080/zstack#top", "fragment"),
        ("mn:8080/zstack", "http"),
        ("mn", "http"),
        ("ftp://mn/zstack", "http"),
        ("http://", "http"),
        ("http:///zstack", "http"),
        ("", "http"),
        ("http://mn:port/zstack", "not a URL"),
        ("http://mn:70000/zstack", "not a URL"),
        ("http://[::1/zstack", "not a URL"),
        ("http://mn:8080/z stack", "white space"),
        ("http://mn\n.example:8080/zstack", "white space"),
        ("http://mn:8080/zst\x00ack", "control"),
    ],
)
def test_what_is_no_endpoint_is_refused_in_one_sentence(url: str, words: str) -> None:
    """Each wrong form is refused with words that say what would be right."""
    with pytest.raises(UsageError) as caught:
        normal_endpoint(url)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"ZSTACK_HOST": "mn.example"}, "http://mn.example:8080/zstack"),
        ({"ZSTACK_HOST": "10.0.0.1", "ZSTACK_PORT": "9080"}, "http://10.0.0.1:9080/zstack"),
        ({"ZSTACK_HOST": "2001:db8::1"}, "http://[2001:db8::1]:8080/zstack"),
        ({"ZSTACK_HOST": "[2001:db8::1]"}, "http://[2001:db8::1]:8080/zstack"),
        ({"ZSTACK_HOST": "mn", "ZSTACK_PORT": ""}, "http://mn:8080/zstack"),
        ({"ZSTACK_ENDPOINT": "https://other/x", "ZSTACK_HOST": "mn"}, "https://other/x"),
        ({"ZSTACK_ENDPOINT": "", "ZSTACK_HOST": "mn"}, "http://mn:8080/zstack"),
    ],
)
def test_host_and_port_make_an_endpoint(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], base: str) -> None:
    """The default port is 8080 and the path /zstack; the whole endpoint wins, and empty variables do not count."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert connection_settings().base_url() == base


@pytest.mark.parametrize("host", ["http://mn", "mn:8080", "mn/zstack", f"admin:{SECRET}@mn", "mn?x", "m n", "mn#x"])
def test_a_host_that_is_no_host_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """ZSTACK_HOST is a name or an address; a URL there must not silently become another machine."""
    monkeypatch.setenv("ZSTACK_HOST", host)
    with pytest.raises(UsageError) as caught:
        connection_settings().base_url()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1", "80.5"])
def test_a_port_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    """The sentence names the variable."""
    monkeypatch.setenv("ZSTACK_PORT", port)
    with pytest.raises(UsageError, match="ZSTACK_PORT"):
        connection_settings()


def test_without_a_node_the_ways_to_name_one_are_told() -> None:
    """Flag and variables both."""
    with pytest.raises(UsageError, match=r"--endpoint.*ZSTACK_ENDPOINT.*ZSTACK_HOST"):
        connection_settings().base_url()


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a flag that was not given does not count."""
    monkeypatch.setenv("ZSTACK_ENDPOINT", "http://environment/zstack")
    assert connection_settings(endpoint="http://flag/zstack").base_url() == "http://flag/zstack"
    assert connection_settings(endpoint=None, ca_file=None).base_url() == "http://environment/zstack"


@pytest.mark.parametrize("name", ["INSECURE", "insecure", "ZSTACK_INSECURE", "CA_FILE", "ca_file", "ZSTACK_CA_FILE"])
def test_no_variable_changes_whom_we_trust(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Verification is turned off, and a CA added, by the flag alone: a stray variable does neither."""
    monkeypatch.setenv(name, "1")
    settings = connection_settings(endpoint="https://mn")
    assert (settings.insecure, settings.ca_file) == (False, None)


def test_the_tls_flags_are_settings() -> None:
    """`--insecure` and `--ca-file` arrive."""
    settings = connection_settings(endpoint="https://mn", insecure=True, ca_file="ca.pem")
    assert (settings.insecure, settings.ca_file) == (True, "ca.pem")


SESSION = {"ZSTACK_SESSION_ID": "5" * 32}
KEY_ID, KEY_SECRET = {"ZSTACK_ACCESS_KEY_ID": "key"}, {"ZSTACK_ACCESS_KEY_SECRET": SECRET}
NAME, PASSWORD = {"ZSTACK_ACCOUNT_NAME": "admin"}, {"ZSTACK_ACCOUNT_PASSWORD": SECRET}


@pytest.mark.parametrize(
    ("environment", "kind", "auth"),
    [
        (SESSION, "session", GivenSession),
        (KEY_ID | KEY_SECRET, "access key", AccessKey),
        (NAME | PASSWORD, "account", AccountLogin),
        (NAME | PASSWORD | {"ZSTACK_SESSION_ID": ""}, "account", AccountLogin),
    ],
)
def test_one_complete_credential_is_used(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kind: str, auth: type
) -> None:
    """Each kind is known by its variables and makes its own way of asking."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = connection_settings(endpoint="http://mn")
    assert settings.credential_kind() == kind
    assert isinstance(ZStackClient(settings).auth, auth)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, ["no credential", "ZSTACK_SESSION_ID", "ZSTACK_ACCESS_KEY_ID", "ZSTACK_ACCOUNT_NAME"]),
        (KEY_ID, ["both", "ZSTACK_ACCESS_KEY_SECRET"]),
        (KEY_SECRET, ["both", "ZSTACK_ACCESS_KEY_ID"]),
        (NAME, ["both", "ZSTACK_ACCOUNT_PASSWORD"]),
        (PASSWORD, ["both", "ZSTACK_ACCOUNT_NAME"]),
        (SESSION | KEY_ID, ["both", "ZSTACK_ACCESS_KEY_SECRET"]),
        (SESSION | NAME | PASSWORD, ["more than one", "session and account"]),
        (SESSION | KEY_ID | KEY_SECRET, ["more than one", "session and access key"]),
        (KEY_ID | KEY_SECRET | NAME | PASSWORD, ["more than one", "access key and account"]),
        (SESSION | KEY_ID | KEY_SECRET | NAME | PASSWORD, ["more than one", "unset all but one"]),
    ],
)
def test_every_other_combination_has_its_sentence(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: list[str]
) -> None:
    """Missing, half and doubled credentials are refused before anything is sent, each with its remedy."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = connection_settings(endpoint="http://mn")
    with pytest.raises(UsageError) as caught:
        ZStackClient(settings)
    assert all(word in str(caught.value) for word in words)
    assert SECRET not in str(caught.value)


def test_no_secret_is_shown_by_the_settings() -> None:
    """Neither str, repr, a dump nor its JSON holds a secret, even one that was put into the endpoint."""
    settings = ConnectionSettings(
        endpoint=f"http://admin:{SECRET}@mn/zstack",
        host=f"admin:{SECRET}@mn",
        session_id=SecretStr(SECRET),
        access_key_id="key",
        access_key_secret=SecretStr(SECRET),
        account_name="admin",
        account_password=SecretStr(SECRET),
    )
    for shown in (str(settings), repr(settings), f"{settings}"):
        assert SECRET not in shown
    secrets = {"session_id", "access_key_secret", "account_password"}
    assert SECRET not in settings.model_dump_json(include=secrets)
    assert SECRET not in str(settings.model_dump(include=secrets))


@pytest.mark.parametrize("field", ["session_id", "access_key_secret", "account_password"])
@pytest.mark.parametrize("value", [[SECRET], {"x": SECRET}, SECRET.encode("utf-16")])
def test_no_secret_is_shown_by_an_error_of_the_settings(field: str, value: Any) -> None:
    """A credential of the wrong type is refused by its name, not by its value."""
    with pytest.raises((UsageError, ValidationError)) as caught:
        ConnectionSettings(**{field: value})
    assert SECRET not in str(caught.value)
    with pytest.raises(UsageError) as told:
        connection_settings(**{field: value})
    assert SECRET not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize("text", [f"{SECRET}-x", f"{SECRET} ", f"{SECRET}\r\nHost: x", "", SECRET * 20])
def test_a_session_id_that_is_none_is_refused_without_showing_it(text: str) -> None:
    """It would become a header: only letters and digits may, and a slip of the hand is not echoed."""
    with pytest.raises(LoginError) as caught:
        GivenSession(text)
    assert SECRET not in str(caught.value)
    assert "ZSTACK_SESSION_ID" in str(caught.value)


@pytest.mark.parametrize("text", ["a:b", "a b", "a\r\nb", "schlüssel", ""])
def test_an_access_key_id_that_is_none_is_refused(text: str) -> None:
    """It would become part of a header that is split at its colon."""
    with pytest.raises(LoginError, match="ZSTACK_ACCESS_KEY_ID"):
        AccessKey(text, SECRET)


def test_a_ca_file_that_cannot_be_used_is_refused_at_once(tmp_path: Any) -> None:
    """Missing or not PEM: a sentence with the file's name, before anything is sent."""
    empty = tmp_path / "ca.pem"
    empty.write_text("not a certificate")
    for name in (str(empty), str(tmp_path / "missing.pem")):
        settings = ConnectionSettings(endpoint="https://mn", session_id=SecretStr("5" * 32), ca_file=name)
        with pytest.raises(OrchestratorError, match="PEM"):
            ZStackClient(settings)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://mn:80/zstack", "http://mn/zstack"),
        ("https://mn:443/zstack", "https://mn/zstack"),
        ("http://mn:443/zstack", "http://mn:443/zstack"),
    ],
)
def test_a_scheme_s_own_port_is_left_out(written: str, meant: str) -> None:
    """Two spellings of one node are one endpoint for guards and journals."""
    assert normal_endpoint(written) == meant
