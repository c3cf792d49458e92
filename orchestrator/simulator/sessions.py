"""Accounts, logins and sessions (zstack-rest.md 8)."""

import hashlib
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.simulator.clock import Clock
from orchestrator.simulator.failures import chain
from orchestrator.simulator.record import Record
from orchestrator.simulator.scenario import Account, NodeSettings
from orchestrator.simulator.wire import Wire


@dataclass(slots=True)
class Session:
    """A login. `expires` is real monotonic seconds and slides with every authenticated call; polls don't count."""

    uuid: str
    account: Account
    user: str
    created: datetime
    expires: float


class Sessions:
    """Who is logged in. Kept in the database: a restart of the node doesn't end them."""

    def __init__(self, accounts: tuple[Account, ...], node: NodeSettings, clock: Clock, record: Record, seed: int) -> None:
        self.accounts = {account.name: account for account in accounts}
        self.node = node
        self.clock = clock
        self.record = record
        self.live: dict[str, Session] = {}
        self._rng = random.Random(f"{seed}:sessions")
        self._uuids = {name: f"{random.Random(f'{seed}:account:{name}').getrandbits(128):032x}" for name in self.accounts}

    def account_uuid(self, account: Account) -> str:
        """The account's UUID."""
        return self._uuids[account.name]

    def log_in(self, account_name: str, password: str, user_name: str | None = None) -> Session:
        """A new session, or ID.1000, LOGIN_CONTROL.1002, ID.1006. `password` is the SHA-512 in lower-case hex."""
        account = self.accounts.get(account_name)
        expected: str | None = None
        if account is not None:
            users = {user.name: user.password for user in account.users}
            expected = account.password if user_name is None else users.get(user_name)
        if account is not None and account.locked:
            raise chain("LOGIN_CONTROL.1002", details="the account is locked, try again in 10 minutes")
        if account is None or expected is None or hashlib.sha512(expected.encode()).hexdigest() != password:
            raise chain("ID.1000", details="wrong account name or password")
        user = f"{account.name}/{user_name or ''}"
        if self.node.unique_session:
            self.live = {uuid: session for uuid, session in self.live.items() if session.user != user}
        now = self.clock.monotonic()
        if sum(s.user == user and s.expires > now for s in self.live.values()) >= self.node.max_sessions:
            raise chain("ID.1006", details=f"Login sessions hit limit of max allowed concurrent login sessions of {user}")
        uuid = f"{self._rng.getrandbits(128):032x}"
        session = Session(uuid, account, user, self.clock.now(), now + self.clock.real(self.node.session_life))
        self.live[uuid] = session
        self.record.sessions[uuid] = True
        return session

    def log_out(self, uuid: str) -> None:
        """End a session; an unknown one is no error."""
        self.live.pop(uuid, None)
        if uuid in self.record.sessions:
            self.record.sessions[uuid] = False

    def valid(self, uuid: str) -> bool:
        """Whether the session lives; asking doesn't prolong it."""
        session = self.live.get(uuid)
        return session is not None and session.expires > self.clock.monotonic()

    def use(self, uuid: str) -> Account:
        """The session's account, and its idle time begins anew; or ID.1001."""
        if not self.valid(uuid):
            raise chain("ID.1001", details="Session expired")
        session = self.live[uuid]
        session.expires = max(session.expires, self.clock.monotonic() + self.clock.real(self.node.session_life))
        return session.account

    def renew(self, uuid: str, duration: float | None) -> Session:
        """Prolong by simulated seconds; None is the ordinary idle life."""
        self.use(uuid)
        session = self.live[uuid]
        life = self.node.session_life if duration is None else duration
        session.expires = self.clock.monotonic() + self.clock.real(life)
        return session

    def expire_all(self) -> None:
        """Every session is expired from now on."""
        for session in self.live.values():
            session.expires = 0.0

    def inventory(self, session: Session, wire: Wire) -> dict[str, Any]:
        """A session as login answers it."""
        left = timedelta(seconds=max(0.0, session.expires - self.clock.monotonic()))
        account_uuid = self.account_uuid(session.account)
        return wire.shuffled(
            {
                "uuid": session.uuid,
                "accountUuid": account_uuid,
                "userUuid": account_uuid,
                "expiredDate": wire.timestamp(self.clock.now() + left),
                "createDate": wire.timestamp(session.created),
                "noSessionEvaluation": False,
            }
        )
