"""Encoding in segments, each by an encoder of its own that depends on no frame before it."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable

import av
from av.video.stream import VideoStream

from vfi_jax.video.tracks.packets import EncodedPackets

_REORDERED = 64  # packets, by which the orders of decoding and of display may differ
_WITH_STATE = ("gif", "apng", "libwebp_anim")  # encoders whose every frame depends on all before it


def is_segmented(encoder: str) -> bool:
    """Whether an encoder, by FFmpeg's name, can be replaced by a new one between two frames."""
    return encoder not in _WITH_STATE


def is_kept(encoder: str, *, has_alpha: bool) -> bool:
    """Whether the packets of an encoder can be kept in a file: libvpx stores opacity beside their data."""
    return is_segmented(encoder) and not (has_alpha and encoder == "libvpx-vp9")


class SegmentedPackets:
    """The packets of a picture's stream, with decoding times that increase over all segments.

    A frame is decoded when the frame that lies `delay` frames before it is shown, where `delay` is that of the first
    segment's encoder, as every encoder has it within a segment.
    """

    def __init__(self, stream: VideoStream, fresh: Callable[[], VideoStream]) -> None:
        """Takes the stream of the target, and what adds an equal one to a container in memory."""
        self._stream, self._fresh = stream, fresh
        self._encoder = EncodedPackets(stream)
        self._delay, self._first = 0, True
        self._start: int | None = None
        self._recent: deque[int] = deque(maxlen=_REORDERED)
        self._ahead: deque[int] = deque()

    def encode(self, frame: av.VideoFrame | None) -> list[av.Packet]:
        """Encodes a frame with time and duration, or what is left if it is None; raises FFmpeg's own errors."""
        if frame is not None and frame.pts is not None:
            self._ahead.append(frame.pts)
        packets = self._encoder.encode(frame)
        for packet in packets:
            packet.stream = self._stream
            if not self._first and packet.dts is not None and self._ahead:
                packet.dts = self._ahead.popleft()
        self.note(packets)
        return packets

    def note(self, packets: Iterable[av.Packet]) -> None:
        """Learns the times of packets, also those of an earlier run."""
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                continue
            self._start = packet.pts if self._start is None else self._start
            self._delay += self._first and packet.dts < self._start
            self._recent.append(packet.pts)

    def split(self) -> None:
        """Replaces the encoder, which has been emptied, by a new one."""
        self._ahead = deque(sorted(self._recent)[-self._delay :] if self._delay else ())
        self._encoder, self._first = EncodedPackets(self._fresh()), False
        gc.collect()  # streams and containers refer to each other: nothing else frees the encoder before
