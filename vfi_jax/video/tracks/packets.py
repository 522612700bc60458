"""Packets of an encoder, with the durations and orders that some encoders do not keep."""

from __future__ import annotations

import av
from av.video.stream import VideoStream

_DNXHD_MATRIX = 0x2C  # byte of a frame's header whose bits 1 and 2 name the matrix
DNXHD_MATRICES = {1: 0, 9: 1, 10: 2}  # AVColorSpace to that number; others are read as BT.709
_LONGEST_REORDERING = 3600  # seconds that a frame may be decoded before it is shown


class EncodedPackets:
    """An encoder's packets, as they should be. Remembers the frames that the encoder holds."""

    def __init__(self, stream: VideoStream) -> None:
        """Takes a stream whose encoder is set up."""
        self._stream = stream
        self._durations: dict[int, int] = {}

    def encode(self, frame: av.VideoFrame | None) -> list[av.Packet]:
        """Encodes a frame with time and duration, or what is left if it is None; raises FFmpeg's own errors.

        Packets get the durations of their frames, which some encoders drop.
        """
        if frame is not None:
            self._tag(frame)
            if frame.pts is not None:
                self._durations[frame.pts] = frame.duration
        packets = self._stream.encode(frame)
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            mend(packet)
        return [self._tagged(packet) for packet in packets] if self._stream.codec_context.name == "dnxhd" else packets

    def _tag(self, frame: av.VideoFrame) -> None:
        """Gives a frame the stream's color tags: encoders of ProRes write those of the frame."""
        context = self._stream.codec_context
        frame.color_range, frame.colorspace = context.color_range, context.colorspace
        frame.color_primaries, frame.color_trc = context.color_primaries, context.color_trc

    def _tagged(self, packet: av.Packet) -> av.Packet:
        """Returns a frame of DNxHR with its matrix, which FFmpeg always writes as BT.709."""
        data = bytearray(bytes(packet))
        matrix = DNXHD_MATRICES.get(self._stream.codec_context.colorspace, 0)
        data[_DNXHD_MATRIX] = data[_DNXHD_MATRIX] & ~0b110 | matrix << 1
        tagged = av.Packet(bytes(data))
        tagged.stream, tagged.time_base, tagged.duration = packet.stream, packet.time_base, packet.duration
        tagged.pts, tagged.dts, tagged.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
        return tagged


def mend(packet: av.Packet) -> None:
    """Gives a packet whose decoding time is senseless that of its display.

    libx265 writes such times where there are fewer frames than it reorders.
    """
    if packet.pts is None or packet.dts is None or packet.time_base is None:
        return
    if not 0 <= (packet.pts - packet.dts) * packet.time_base <= _LONGEST_REORDERING:
        packet.dts = packet.pts
