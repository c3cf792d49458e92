"""Keys while a run goes on, where somebody sits at the terminal that started it."""

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import anyio

if sys.platform != "win32":  # which has no such terminals, and so no keys
    import termios
    import tty

_LOOK_SECONDS = 0.5


def usable() -> bool:
    """Is standard input a terminal whose keys can be read one by one?"""
    return sys.platform != "win32" and sys.stdin.isatty()


def _ours(descriptor: int) -> bool:
    """Are we in the foreground? Whoever reads or sets a terminal from the background is stopped by the system."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def _one_by_one(descriptor: int) -> Iterator[None]:
    """The terminal hands out each key as it is pressed, and does not show it. Ctrl-C and Ctrl-Z stay what they are."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        if _ours(descriptor):  # in the background the shell has it, as it likes it
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def listen(acts: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Carry out what each key stands for, until cancelled; at once back where there are no keys to be had."""
    if not usable() or not _ours(descriptor := sys.stdin.fileno()):
        return
    with contextlib.suppress(termios.error, OSError), _one_by_one(descriptor):
        away = False
        while True:
            if not _ours(descriptor):
                away = True
                await anyio.sleep(_LOOK_SECONDS)
                continue
            if away:
                tty.setcbreak(descriptor, termios.TCSANOW)
                away = False
            with anyio.move_on_after(_LOOK_SECONDS):
                await anyio.wait_readable(descriptor)
                if not _ours(descriptor):
                    continue
                pressed = os.read(descriptor, 64)
                if not pressed:
                    return  # hung up
                for key in pressed.decode("utf-8", "replace"):
                    if (act := acts.get(key.lower())) is not None:
                        await act()
