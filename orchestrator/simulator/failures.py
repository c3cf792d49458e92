"""What goes wrong, as the node words it: code, fixed description, localised details, causes (zstack-rest.md 6)."""

from dataclasses import dataclass

DESCRIPTIONS = {
    "SYS.1000": "An internal error happened in system",
    "SYS.1001": "An operation timed out",
    "SYS.1003": "A resource cannot be found",
    "SYS.1006": "An operation failed",
    "SYS.1007": "One or more API argument is invalid",
    "SYS.1010": "Management node is not ready yet",
    "SYS.1015": "An HTTP call to the agent failed",
    "SYS.1016": "An I/O error happened on the way to the agent",
    "ID.1000": "Authentication error",
    "ID.1001": "Session is invalid",
    "ID.1002": "Permission denied",
    "ID.1006": "Too many sessions",
    "LOGIN_CONTROL.1002": "The account is locked",
    "VM.1001": "Unable to start a vm",
    "VM.1002": "Unable to stop a vm",
    "VM.1003": "Unable to reboot a vm",
    "VM.1007": "Unable to migrate a vm",
    "VM.1010": "VM is not in state that allows required operation",
    "HOST.1001": "Unable to enter maintenance mode",
    "HOST.1006": "Failed to stop vm on the hypervisor",
    "HOST.1010": "Host is not in status that allows required operation",
    "HOST.1011": "Operation failure because of host being unavailable",
}

CHINESE = {
    "SYS.1000": "系统发生内部错误",
    "SYS.1001": "操作超时",
    "SYS.1003": "资源不存在",
    "SYS.1006": "操作失败",
    "SYS.1007": "参数不合法",
    "ID.1000": "用户名或密码错误",
    "ID.1001": "会话已过期",
    "ID.1002": "权限不足",
    "VM.1010": "云主机当前状态不允许该操作",
    "HOST.1010": "物理机未处于已连接状态",
}
"""Details of a node whose locale is zh_CN; a code without one says 操作失败."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One error and what caused it; `cause` None is the root. `details` are English; the wire may translate them.

    `causes` are those of something done to many, like the VMs of a host.
    """

    code: str
    details: str = ""
    cause: "Failure | None" = None
    causes: tuple["Failure", ...] = ()


class FailedError(Exception):
    """An API call ends with this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class RefusedError(Exception):
    """A request is refused at once with plain text (zstack-rest.md 2.2 and 3)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def under(outer: str, error: FailedError) -> FailedError:
    """The same failure as the cause of another one: `under("VM.1007", chain("HOST.1011"))`."""
    return FailedError(Failure(outer, error.failure.details, error.failure))


def chain(*codes: str, details: str = "") -> FailedError:
    """The failure of these codes, outermost first: `chain("VM.1002", "HOST.1006")`."""
    failure: Failure | None = None
    for code in reversed(codes):
        failure = Failure(code, details or DESCRIPTIONS.get(code, "no details"), failure)
    assert failure is not None
    return FailedError(failure)
