"""FFmpeg's messages: they say what no attribute of PyAV does. They are passed to Python only while somebody listens."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import av


@contextlib.contextmanager
def passed_on(level: int, libav_level: int) -> Iterator[list[tuple[int, str, str]]]:
    """Context manager: collects messages (level, who, text) of this thread.

    A thread of FFmpeg's that has something to say waits for Python meanwhile. So no decoder or encoder may be freed
    here, which waits for its threads: no garbage is collected meanwhile, and what is opened here must live on.

    Args:
      level: of `av.logging`, up to which messages are passed on.
      libav_level: up to which FFmpeg composes them.
    """
    was_enabled, before = gc.isenabled(), av.logging.get_level()
    gc.disable()
    av.logging.set_libav_level(libav_level)
    av.logging.set_level(level)
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(before)
        av.logging.set_libav_level(av.logging.INFO)
        if was_enabled:
            gc.enable()
