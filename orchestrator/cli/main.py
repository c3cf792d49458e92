"""argv in, exit code out. The commands stand in their families' modules and are imported when they are called."""

import contextlib
import errno
import os
import sys
from importlib import import_module

import click

_COMMANDS = {
    "run": "orchestrator.cli.running",
    "preview": "orchestrator.cli.running",
    "validate": "orchestrator.cli.plans",
    "schema": "orchestrator.cli.plans",
    "runs": "orchestrator.cli.looking",
    "show": "orchestrator.cli.looking",
    "report": "orchestrator.cli.looking",
    "doctor": "orchestrator.cli.doctor",
    "simulate": "orchestrator.cli.simulate",
    "resume": "orchestrator.cli.following",
    "retry": "orchestrator.cli.following",
    "restore": "orchestrator.cli.restoring",
    "steer": "orchestrator.cli.steering",
    "completion": "orchestrator.cli.completing",
}
_SHORT = {
    "run": "Stop the VMs of a plan, verify, and report.",
    "preview": "Show everything a run would do, without a change.",
    "validate": "Check plans offline.",
    "schema": "Print a JSON Schema: of plans, or of report.json.",
    "runs": "List the runs of the journal.",
    "show": "Show a run, or every step of one VM.",
    "report": "Render a run's report again, from the journal.",
    "doctor": "Check the connection step by step, each with its remedy.",
    "simulate": "Serve a simulated management node on loopback.",
    "resume": "Carry on a run that was killed or interrupted.",
    "retry": "A new run over what a run left failed or not reached.",
    "restore": "Start again what a run and its retries stopped.",
    "steer": "Give a word to a run in another terminal: pause, go, skip VM.",
    "completion": "Print the script that completes all this in your shell.",
}


class _Lazy(click.Group):
    """Commands by name, imported when needed: `--help` is typed by people."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SHORT.items()))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: 'orchestrator doctor', then 'orchestrator preview PLAN', then 'orchestrator run PLAN'.",
)
@click.version_option(package_name="zstack-orchestrator", message="zstack-orchestrator %(version)s")
def cli() -> None:
    """Stop many ZStack VMs within a window, and answer for each of them."""


def main(argv: list[str] | None = None) -> None:
    """The command; exits with the contract's code. No traceback reaches a user."""
    from orchestrator.cli.streams import drop, prepare_streams  # noqa: PLC0415 - as below

    prepare_streams()
    code = _NO_FILES_CODE if _few_files() else execute(argv)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            drop(stream)  # else the interpreter would answer 120 for it
    sys.exit(code)


_FEWEST_FILES, _NO_FILES_CODE = 16, 3


def _few_files() -> bool:
    """Too few file descriptors to begin anything? Says so."""
    from orchestrator.cli.streams import complain  # noqa: PLC0415

    with contextlib.suppress(ImportError):  # a system without such limits
        import resource  # noqa: PLC0415

        if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _FEWEST_FILES:
            complain(_NO_FILES)
            return True
    return False


_NO_FILES = "too few files may be open at a time: raise the limit with 'ulimit -n 1024', and try again"


def _lacks_files(error: BaseException) -> bool:
    """Is it, or one of those in it, the system's refusal to open any more files?"""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_lacks_files, error.exceptions))
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def execute(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from orchestrator.cli.streams import complain, drop  # noqa: PLC0415 - imports stay with those who need them
    from orchestrator.errors import OrchestratorError  # noqa: PLC0415

    try:
        code = cli.main(args=argv, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.Abort:
        complain("interrupted: nothing was sent")
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except OrchestratorError as error:
        for line in str(error).split("\n"):
            complain(line)
        return error.exit_code
    except BrokenPipeError:
        drop(sys.stdout)
        return 141
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except Exception as error:
        if _lacks_files(error):
            complain(_NO_FILES)
            return _NO_FILES_CODE
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        text = " ".join(str(error).split())[:200]
        complain(
            f"a defect of this program ended the command ({type(error).__name__}: {text}); "
            "set ORCHESTRATOR_DEBUG=1 to see where, and report it"
        )
        return 70
    return code if isinstance(code, int) else 0
