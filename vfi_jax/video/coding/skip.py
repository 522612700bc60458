"""Leaving out the groups of pictures before a part of a clip, which nothing in the part depends on."""

from __future__ import annotations

import av

MAX_HELD = 256_000_000  # bytes of packets that are held at most; a clip with few key frames is decoded from there


class Skip:
    """Passes on the packets of a video stream from the key frame before the last one at or before a time.

    A key frame alone may not be a clean start: pictures that are refreshed bit by bit have one where the refresh
    begins. The group of pictures before it makes sure of that. Packets without timestamps are passed on at once.

    Attributes:
      dropped: whether packets were left out.
    """

    def __init__(self, begin: int) -> None:
        """Waits for the packets that lead to `begin`, in ticks of the stream."""
        self.dropped = False
        self._begin, self._bytes, self._done = begin, 0, False
        self._groups: list[list[av.Packet]] = [[]]

    def take(self, packet: av.Packet) -> list[av.Packet]:
        """Returns the packets to decode next, none while later ones may make these superfluous."""
        if self._done:
            return [packet]
        if packet.is_keyframe and packet.pts is not None and packet.pts <= self._begin:
            self._groups.append([])
        if len(self._groups) > 2:
            self._bytes -= sum(each.size for each in self._groups.pop(0))
            self.dropped = True
        self._groups[-1].append(packet)
        self._bytes += packet.size
        times = (packet.pts, packet.dts)  # a key frame is shown after it is decoded, so none before `begin` follows
        self._done = None in times or packet.dts > self._begin or self._bytes > MAX_HELD
        return [each for group in self._groups for each in group] if self._done else []
