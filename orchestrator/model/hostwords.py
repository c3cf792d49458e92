"""What was done to a host, and what was not, as words for people: the same on a terminal, in a chat and in a report."""

from orchestrator.model.outcome import HostOutcome

_STATES = {"disable": "disabled", "empty": "empty", "maintain": "in maintenance", "enable": "enabled and connected"}
_CHANGES = {**_STATES, "empty": "emptied", "maintain": "put into maintenance"}
_BEFORE = {**_STATES, "enable": "enabled"}


def host_state(action: str) -> str:
    """`disabled`, `in maintenance`: how a host is afterwards; a word that nobody listed stands for itself."""
    return _STATES.get(action, action)


def host_words(action: str, outcome: HostOutcome | None) -> str:
    """What follows a host's name: `is disabled`, `could not be put into maintenance`. Without an outcome it is under way."""
    state, changed = host_state(action), _CHANGES.get(action, action)
    match outcome:
        case None:
            return f"is being {changed}"
        case HostOutcome.DONE:
            return f"is {state}"
        case HostOutcome.ALREADY:
            return f"was {_BEFORE.get(action, action)} already"
        case HostOutcome.FAILED:
            return f"could not be {changed}"
        case HostOutcome.UNKNOWN:
            return f"may or may not be {state}"
        case HostOutcome.NOT_EMPTY:
            return "is not empty" if action == "empty" else f"was not {changed}, for it is not empty"
        case HostOutcome.NOT_REACHED if action == "empty":
            return "was not done with before the run ended"
        case HostOutcome.NOT_REACHED:
            return f"was not {changed}, for its turn never came"
        case HostOutcome.CAME_BACK:
            return f"was {changed}, and is so no more"
        case HostOutcome.LEFT:
            return "was left alone, for somebody has had it since"
