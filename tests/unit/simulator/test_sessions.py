"""Accounts, sessions, access keys."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from orchestrator.simulator import Account, NodeSettings, Scenario, SimulatedNode
from orchestrator.simulator.accesskey import sign
from tests.unit.simulator.rest import PASSWORD, Reply, Rest, job_of, running, until

KEY = {"id": "key", "secret": "secret"}
ACCOUNTS = [
    {"name": "admin", "admin": True, "access_keys": [KEY, {"id": "off", "secret": "s", "enabled": False}]},
    {"name": "tenant", "users": [{"name": "joe", "password": "password"}]},
    {"name": "viewer", "may_stop": False},
    {"name": "denied", "may_stop": False, "permission_error": "SYS.1006"},
    {"name": "locked", "locked": True},
]
FLEET = {
    "accounts": ACCOUNTS,
    "vms": [{"name": account, "account": account} for account in ("admin", "tenant", "viewer", "denied")],
}


async def test_wrong_password_is_503() -> None:
    """ID.1000 for a wrong password or account, LOGIN_CONTROL.1002 for a locked one, SYS.1007 for a wrong key."""
    async with running(FLEET, log_in=False) as (_, rest):
        assert (await rest.log_in(password="0" * 128)).codes == ["ID.1000"]
        assert (await rest.log_in("nobody")).codes == ["ID.1000"]
        assert (await rest.log_in("locked")).codes == ["LOGIN_CONTROL.1002"]
        reply = await rest.call("PUT", "/v1/accounts/login", {"logIn": {"username": "admin", "password": PASSWORD}})
        assert (reply.status, reply.codes) == (503, ["SYS.1007"])


async def test_other_logins() -> None:
    """The generic login and a sub-user's login open sessions as well."""
    async with running(FLEET, log_in=False) as (_, rest):
        generic = {"logIn": {"username": "admin", "password": PASSWORD, "loginType": "account"}}
        assert (await rest.call("PUT", "/v1/login", generic)).status == 200
        user = {"logInByUser": {"accountName": "tenant", "userName": "joe", "password": PASSWORD}}
        assert (await rest.call("PUT", "/v1/accounts/users/login", user)).status == 200


async def test_logout_and_valid() -> None:
    """Logout is 200 {} without authorization; the session is invalid then, and closed in the record."""
    async with running(FLEET) as (node, rest):
        path = f"/v1/accounts/sessions/{rest.session}"
        assert (await rest.call("GET", path + "/valid", auth=False)).json == {"valid": True}
        assert node.record.open_sessions() == [rest.session]
        out = await rest.call("DELETE", path, auth=False)
        assert (out.status, out.json) == (200, {})
        assert (await rest.call("GET", path + "/valid", auth=False)).json == {"valid": False}
        assert node.record.open_sessions() == []


async def test_expired_session_is_a_verdict() -> None:
    """ID.1001: at once for a query, upon the poll for a stop."""
    async with running(FLEET) as (node, rest):
        node.expire_sessions()
        assert (await rest.call("GET", "/v1/vm-instances")).codes == ["ID.1001"]
        assert (await rest.end_of(await rest.stop(node.vm("admin").uuid))).codes == ["ID.1001"]
        assert not node.record.transitions


async def test_idle_life_slides_and_polls_do_not_count() -> None:
    """Authenticated calls prolong a session; polls, even with its header, don't."""
    async with running({**FLEET, "node": {"session_life": 100}}) as (node, rest):  # half a real second
        began = node.record.requests[-1].at
        while node.record.requests[-1].at < began + 0.75:
            assert (await rest.call("GET", "/v1/zones")).status == 200
        began = node.record.requests[-1].at
        while node.record.requests[-1].at < began + 0.75:
            await rest.call("GET", f"/v1/api-jobs/{'0' * 32}")
        assert (await rest.call("GET", "/v1/zones")).codes == ["ID.1001"]


async def test_renew_is_a_job() -> None:
    """Renewing answers 202, and its duration is kept."""
    async with running(FLEET) as (_, rest):
        path = f"/v1/accounts/sessions/{rest.session}/renew"
        reply = await rest.end_of(job_of(await rest.call("PUT", path, {"renewSession": {"duration": 36000}})))
        assert reply.json["inventory"]["uuid"] == rest.session
        wrong = await rest.call("PUT", path, {"renewSession": {"duration": "long"}})
        assert wrong.status == 400


async def test_too_many_sessions() -> None:
    """ID.1006 when a user has as many live sessions as are allowed, until one is logged out."""
    async with running({**FLEET, "node": {"max_sessions": 2}}) as (_, rest):
        assert (await rest.log_in()).status == 200
        assert (await rest.log_in()).codes == ["ID.1006"]
        await rest.call("DELETE", f"/v1/accounts/sessions/{rest.session}")
        assert (await rest.log_in()).status == 200


async def test_unique_session_ends_the_others() -> None:
    """With unique sessions a login ends the user's earlier ones."""
    async with running({**FLEET, "node": {"unique_session": True}}) as (_, rest):
        old = rest.session
        await rest.log_in()
        reply = await rest.call("GET", "/v1/zones", headers={"Authorization": f"OAuth {old}"})
        assert reply.codes == ["ID.1001"]


async def test_an_account_sees_its_own() -> None:
    """A normal account sees its own VMs and can't stop others' VMs."""
    async with running(FLEET, log_in=False) as (node, rest):
        await rest.log_in("tenant")
        assert await rest.names("sort=name") == ["tenant"]
        assert (await rest.end_of(await rest.stop(node.vm("admin").uuid))).codes == ["ID.1002"]
        assert (await rest.end_of(await rest.stop(node.vm("tenant").uuid, type="cold"))).status == 200


@pytest.mark.parametrize(("name", "code"), [("viewer", "ID.1002"), ("denied", "SYS.1006")])
async def test_permission_to_stop(name: str, code: str) -> None:
    """Who may not stop gets the permission error of the scenario, upon the poll."""
    async with running(FLEET, log_in=False) as (node, rest):
        await rest.log_in(name)
        assert (await rest.end_of(await rest.stop(node.vm(name).uuid))).codes == [code]


def date_of(moment: datetime, zone: str) -> str:
    """The Date header: the moment's own digits, with this zone behind."""
    return f"{moment:%a, %d %b %Y %H:%M:%S} {zone}"


async def signed(rest: Rest, date: str, key: str = "key", secret: str = "secret", query: str = "") -> Reply:
    """A signed query."""
    path = "/v1/vm-instances"
    headers = {"Authorization": f"ZStack {key}:{sign(secret, 'GET', date, path)}", "Date": date}
    return await rest.call("GET", path + query, headers=headers)


async def test_access_key_signs_wall_clock_digits() -> None:
    """By default the node compares digits with its own clock: its local time passes, a true UTC date is too skewed."""
    async with running(FLEET, log_in=False) as (_, rest):
        here = datetime.now(ZoneInfo("Asia/Shanghai"))
        for zone in ("GMT", "CST", "Asia/Shanghai", "+08:00", "GMT+08:00"):
            assert (await signed(rest, date_of(here, zone), query="?limit=1")).status == 200
        skewed = await signed(rest, date_of(datetime.now(UTC), "GMT"))
        assert (skewed.status, skewed.text) == (403, "requestTimeTooSkewed")
        assert (await signed(rest, date_of(here - timedelta(minutes=16), "GMT"))).status == 403
        assert (await signed(rest, date_of(here - timedelta(minutes=14), "GMT"))).status == 200


async def test_access_key_with_zones_compared() -> None:
    """check_time_zone compares instants."""
    async with running({**FLEET, "node": {"check_time_zone": True}}, log_in=False) as (_, rest):
        here = datetime.now(ZoneInfo("Asia/Shanghai"))
        assert (await signed(rest, date_of(datetime.now(UTC), "GMT"))).status == 200
        assert (await signed(rest, date_of(here, "Asia/Shanghai"))).status == 200
        assert (await signed(rest, date_of(here, "GMT"))).status == 403


async def test_access_key_refusals() -> None:
    """403 with the server's own words for key and signature, 400 for what has the wrong shape."""
    async with running(FLEET, log_in=False) as (_, rest):
        date = date_of(datetime.now(ZoneInfo("Asia/Shanghai")), "GMT")
        wrong = await signed(rest, date, secret="other")
        assert (wrong.status, wrong.text) == (403, "wrong accessKey signature")
        for key in ("ghost", "off"):
            unknown = await signed(rest, date, key=key)
            assert (unknown.status, unknown.text) == (403, f"access key id: {key} does not existed or disabled")
        for bad in (date.replace("GMT", "+0800"), date.replace("GMT", "GMT+8"), "Mon, 3 Mar 2025 09:05:01 GMT"):
            assert (await signed(rest, bad)).status == 400
        for header in ("ZStack key", "ZStack a:b:c"):
            reply = await rest.call("GET", "/v1/zones", headers={"Authorization": header, "Date": date})
            assert reply.status == 400


async def test_access_key_stops_a_vm() -> None:
    """A signed PUT is carried out without a session."""
    async with running(FLEET, log_in=False) as (node, rest):
        vm = node.vm("admin")
        path = f"/v1/vm-instances/{vm.uuid}/actions"
        date = date_of(datetime.now(ZoneInfo("Asia/Shanghai")), "Asia/Shanghai")
        headers = {"Authorization": f"ZStack key:{sign('secret', 'PUT', date, path)}", "Date": date}
        reply = await rest.call("PUT", path, {"stopVmInstance": {"type": "cold"}}, headers=headers)
        assert (await rest.end_of(job_of(reply))).status == 200
        await until(lambda: vm.state == "Stopped")
        assert not node.record.open_sessions()


async def test_access_key_plugin_may_be_absent() -> None:
    """Without the plug-in the scheme is a 400."""
    node = SimulatedNode(Scenario(node=NodeSettings(access_keys=False), accounts=(Account(name="admin", admin=True),)))
    async with node, Rest(node) as rest:
        reply = await rest.call("GET", "/v1/zones", headers={"Authorization": "ZStack a:b"})
        assert (reply.status, reply.text[:27]) == (400, "unable to find RestAuthenti")
