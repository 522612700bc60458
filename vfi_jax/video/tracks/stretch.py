"""The sound of slow motion: stretched in time at its own pitch by FFmpeg's `atempo`, and encoded again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import av
from av.error import InvalidDataError
from av.filter import Graph

from vfi_jax.video.coding.decode import exact

SLOWEST = Fraction(1, 2)  # tempo of one `atempo`
_ENCODERS = {"aac": "aac", "opus": "libopus", "mp3": "libmp3lame", "flac": "flac", "ac3": "ac3"}
_HELD = {  # muxer: encoders whose streams it takes, its usual one first
    "mp4": ("aac", "libopus", "libmp3lame", "flac", "ac3"),
    "mov": ("aac", "libmp3lame", "ac3"),
    "matroska": ("flac", "aac", "libopus", "libmp3lame", "ac3"),
    "webm": ("libopus",),
}
_USUAL_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


class StretchedSound:
    """A track of sound that becomes longer.

    Silence is written where the source's track begins late or has holes, so that sample n belongs to n / rate seconds.

    Attributes:
      stream: the track in the target.
    """

    def __init__(
        self, source: av.AudioStream, target: av.container.OutputContainer, origin: Fraction, stretch: Fraction
    ) -> None:
        """Adds an encoder of the source's codec to the target, or of the container's usual one.

        Args:
          source: the track.
          target: the container, whose header is not yet written.
          origin: time of the source at which the target begins, seconds.
          stretch: how many times as long it becomes.

        Raises:
          ValueError: the codec is unknown, or the target cannot hold the sound.
        """
        if source.codec_context is None:
            raise ValueError("its codec is unknown")
        self._origin, self._stretch, self._rate = origin, stretch, source.rate
        held = _HELD[target.format.name]
        codec = _ENCODERS.get(source.codec_context.name.removesuffix("float"))
        codec = codec if codec in held else held[0]
        self.stream = target.add_stream(codec, rate=48000 if codec == "libopus" else source.rate)
        self.stream.layout = layout = _layout(source.layout)
        try:
            self.stream.codec_context.open()
        except av.FFmpegError:
            raise ValueError(f"{codec} does not take {layout}, {self.stream.rate} Hz") from None
        self._graph: Graph | None = None
        self._decoder = source.codec_context
        self._samples = 0

    def add(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yields encoded packets for a packet of the source; a damaged one becomes silence."""
        try:
            frames = packet.decode()
        except InvalidDataError:
            return
        for frame in frames:
            yield from self._push(frame)

    def finish(self) -> Iterator[av.Packet]:
        """Yields the packets that are left."""
        for frame in self._decoder.decode(None):
            yield from self._push(frame)
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull(self._graph)
        yield from self.stream.encode(None)

    def _push(self, frame: av.AudioFrame) -> Iterator[av.Packet]:
        if self._graph is None:
            self._rate = frame.sample_rate
            self._graph = self._build(frame)
        if frame.pts is not None:
            time = frame.pts * Fraction(exact(frame.time_base) or 0) - self._origin
            frame.time_base = Fraction(1, self._rate)
            frame.pts = round(time * self._rate)
        self._graph.push(frame)
        yield from self._pull(self._graph)

    def _pull(self, graph: Graph) -> Iterator[av.Packet]:
        while True:
            try:
                frame = graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            frame.pts, frame.time_base = self._samples, Fraction(1, frame.sample_rate)
            self._samples += frame.samples
            yield from self.stream.encode(frame)

    def _build(self, frame: av.AudioFrame) -> Graph:
        """Returns the graph: silence in holes, `atempo` as often as its range needs, and the encoder's own format."""
        graph, context = Graph(), self.stream.codec_context
        steps = [
            graph.add_abuffer(
                sample_rate=self._rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=Fraction(1, self._rate),
            ),
            graph.add("aresample", "async=1:first_pts=0:min_hard_comp=0.01"),
        ]
        count = math.ceil(math.log2(self._stretch))
        tempo = float(1 / self._stretch) ** (1 / count)
        for _ in range(count):
            steps.append(graph.add("atempo", f"{max(tempo, float(SLOWEST))!r}"))
            steps.append(graph.add("adelay", f"delays={_lead(self._rate)}S:all=1"))
        formats = context.codec.audio_formats or [frame.format]
        steps.append(
            graph.add(
                "aformat",
                f"sample_fmts={formats[0].name}:sample_rates={self.stream.rate}:channel_layouts={self.stream.layout.name}",
            )
        )
        steps.append(graph.add("abuffersink"))
        graph.link_nodes(*steps).configure()
        if size := context.frame_size:
            graph.set_audio_frame_size(size)
        return graph


def _layout(layout: av.AudioLayout) -> str:
    """Returns the name of a layout, where it has none the usual one of as many channels; encoders know no side ones."""
    usual = _USUAL_LAYOUTS.get(layout.nb_channels, layout.name)
    return usual if layout.name == "5.1(side)" or "channels" in layout.name else layout.name


def _lead(rate: int) -> int:
    """Returns the samples by which `atempo` is early: half its window, the power of two from 1/24 s up."""
    return 2 ** math.ceil(math.log2(rate / 24)) // 2
