"""Ctrl-C during imports, which extensions that are being initialized turn into errors of their own, or crashes."""

from __future__ import annotations

import os
import signal
import threading
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


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != IMPORT:
        frame = frame.f_back
    return frame is not None
