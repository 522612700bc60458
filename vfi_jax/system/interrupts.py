"""Signals that end a process: Ctrl-C during imports, which extensions may turn into crashes, and SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130  # as in `errors`, which takes longer to import
IMPORT = "<frozen importlib._bootstrap>"  # the file of the frames of every import


def catch(program: str) -> None:
    """Makes Ctrl-C end the process in one line while something is imported; otherwise it raises `KeyboardInterrupt`.

    To be called before the slow imports. A process that ignores Ctrl-C goes on ignoring it.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            os.write(2, f"{program}: interrupted\n".encode())
            os._exit(INTERRUPTED)
        signal.default_int_handler(number, frame)

    in_main = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)


@contextlib.contextmanager
def cleanup_on_terminate(program: str) -> Iterator[None]:
    """Context manager: SIGTERM and SIGHUP end the process by `SystemExit`, so that what is half-written is removed.

    The exit status is 128 plus the number of the signal, as shells have it. A process that ignores a signal goes on
    ignoring it.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(
            2, f"{program}: ended by {signal.Signals(number).name}; nothing was left under the final name\n".encode()
        )
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if in_main and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != IMPORT:
        frame = frame.f_back
    return frame is not None
