"""The fields of a recipe that say where samples come from, and what becomes of them."""

from __future__ import annotations

import dataclasses

from vfi_jax.config.fields import INT_MAX, bounded, fraction


@dataclasses.dataclass(frozen=True)
class Window:
    """Selects the inputs and the target from a window of frames; t is the target's place between the inputs around it.

    With `inputs` and `target` given, every sample uses them. With `inputs` alone, the target is drawn uniformly from
    the frames between the inner two inputs. With neither, both are drawn: with probability `sorted_share` three
    distinct frames in time order, the middle one being the target (RIFE-m), otherwise a target and two inputs at equal
    distances from it.

    Attributes:
      frames: number of frames in a window, n.
      inputs: indices of the input frames in time order, 2 or 4 of them; empty: drawn.
      target: index of the target frame; -1: drawn.
      target_step: distance in frames between targets that can be drawn, counted from the input before them.
      sorted_share: probability of a sorted triple where inputs are drawn.
    """

    frames: int = bounded(3, 1, INT_MAX)
    inputs: tuple[int, ...] = bounded((), 0, INT_MAX)
    target: int = bounded(-1, -1, INT_MAX)
    target_step: int = bounded(1, 1, INT_MAX)
    sorted_share: float = fraction(0.0)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Augmentation of training samples; all frames and flows of a sample are changed alike.

    Applied in this order: `enlarge`, `crop`, `jitter`, `reverse_channels`, `flip_rows`, `flip_columns`, `transpose`,
    `reverse_time`, `rotate`. Packed sets support neither `enlarge` nor `jitter`.

    Attributes:
      crop: side of the random square crop, pixels.
      reverse_channels: probability of swapping RGB and BGR.
      flip_rows: probability of a vertical flip.
      flip_columns: probability of a horizontal flip.
      reverse_time: probability of reversing the inputs, with t <- 1 - t.
      rotate: probability of a rotation; 90, 180 and 270 degrees are equally likely.
      enlarge: probability of doubling the size before the crop.
      transpose: probability of swapping rows and columns.
      jitter: maximum change of brightness, contrast and saturation (relative) and of hue (turns); 0: none.
    """

    crop: int = bounded(224, 1, INT_MAX)
    reverse_channels: float = fraction(0.5)
    flip_rows: float = fraction(0.5)
    flip_columns: float = fraction(0.5)
    reverse_time: float = fraction(0.5)
    rotate: float = fraction(0.75)
    enlarge: float = fraction(0.0)
    transpose: float = fraction(0.0)
    jitter: float = bounded(0.0, 0, 0.5)


@dataclasses.dataclass(frozen=True)
class Footage:
    """How windows are cut from videos, and which are rejected. For folders of images only `step` applies.

    Attributes:
      frames: number of frames in a window, n.
      step: distance in frames between the starts of two windows of a video or of a long folder of images.
      short_side: frames are reduced (area interpolation, never enlarged) to this short side, pixels; 0: kept.
      per_clip: maximum number of windows per clip, evenly spread; 0: all.
      duplicate: two neighboring frames are duplicates if their mean absolute difference is below this, 0..255.
      static: a window is static if the mean absolute difference of its first and last frame is below this, 0..255.
      fade: a window is a fade if one gain and offset for the whole frame explains more than this fraction of the change
        between neighbors.
      flash: a window has a flash if the mean brightness jumps by more than this, 0..255, and returns within two frames.
      interlaced: a frame is interlaced if neighboring rows differ more than rows two apart, by this ratio.
    """

    frames: int = bounded(5, 1, INT_MAX)
    step: int = bounded(4, 1, INT_MAX)
    short_side: int = bounded(0, 0, INT_MAX)
    per_clip: int = bounded(0, 0, INT_MAX)
    duplicate: float = bounded(0.3, 0, 255)
    static: float = bounded(0.8, 0, 255)
    fade: float = bounded(0.4)
    flash: float = bounded(12.0, 0, 255)
    interlaced: float = bounded(1.0)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """The synthetic scenes of a packed set.

    Attributes:
      count: number of scenes, one window of each.
      size: side of the frames, pixels.
      frames: number of frames in a window, n.
      layers: maximum number of layers in front of the background.
      slowest: minimum motion of the fastest layer over a window, pixels; drawn log-uniformly.
      fastest: maximum motion of the fastest layer over a window, pixels.
      blurred: fraction of scenes with motion blur; the shutter is open for up to the whole time between frames.
      lit: fraction of scenes whose lighting changes.
      seed: of the first scene; the others count up from it.
    """

    count: int = bounded(1000, 1, INT_MAX)
    size: int = bounded(256, 1, INT_MAX)
    frames: int = bounded(5, 1, INT_MAX)
    layers: int = bounded(6, 0, INT_MAX)
    slowest: float = bounded(4.0)
    fastest: float = bounded(128.0)
    blurred: float = fraction(0.3)
    lit: float = fraction(0.2)
    seed: int = bounded(0, 0, INT_MAX)


@dataclasses.dataclass(frozen=True)
class Mix:
    """An additional training set.

    Attributes:
      path: as `Data.path`.
      share: fraction of all samples that this set gives.
    """

    path: str
    share: float


@dataclasses.dataclass(frozen=True)
class Distance:
    """Distance maps and references of training samples.

    With maps, `augment.reverse_time` reads the map of the reversed frames. Samples whose map is not finite are drawn
    again, up to eight times; then such pixels take the sample's time.

    Attributes:
      maps: flow method whose distance maps, stored beside the set, take the place of t; "": none.
      clip: whether maps are clipped to 0..1.
      blur: size of the Gaussian kernel, 5 or 9; 0: none.
      blur_at: where maps are clipped and blurred: at "half" the size, as they are stored, on the whole "frame", or on
        the "crop".
      reference: whether samples have a reference frame, drawn uniformly from the first input to the last, and its map
        (its time, without maps).
      validate: whether validation gives the maps of its windows, which then stand beside its set, too; otherwise it
        gives one distance to all pixels, the time.
    """

    maps: str = ""
    clip: bool = True
    blur: int = bounded(9, 0, 9)
    blur_at: str = "frame"
    reference: bool = False
    validate: bool = False


@dataclasses.dataclass(frozen=True)
class Regions:
    """Region maps of training samples; validation, where it has maps, gets them as they are.

    Attributes:
      maps: whether the maps that stand beside the set, or in its records, are read with the samples.
      drop: probability that a sample has none.
      drop_one: probability that one frame of a sample has none.
      noise: probability of each of three kinds of noise: a third of the numbers deleted, two neighbors merged in one
        frame, maps shifted by up to two of their pixels.
    """

    maps: bool = False
    drop: float = fraction(0.2)
    drop_one: float = fraction(0.1)
    noise: float = fraction(0.0)


@dataclasses.dataclass(frozen=True)
class Data:
    """The training and validation sets.

    Attributes:
      path: the training set, whose type is detected from its contents: Vimeo90K triplets or septuplets, a folder of
        windows, of records or of video files, a packed file; `synthetic:COUNT`, synthetic scenes; or a source of
        another package, `package.module:NAME` or its registered name, optionally with `?ARGUMENT`.
      mix: additional sets and their shares; the remaining samples come from `path`.
      validation: the validation set, folders of images or records; "": the last `holdout` of `path`, whole clips.
      holdout: fraction of `path` that is held out for validation.
      labels: teacher whose flow labels, stored beside the set, are read with the samples; "": none.
      masks: uncertainty network whose label masks, stored beside the set, are read with the samples; "": none.
      distance: distance maps instead of t, and reference frames.
      regions: region maps of the inputs.
      window: the inputs and the target.
      augment: augmentation of training samples.
      footage: how windows are cut from video files.
      damaged: maximum fraction of samples that may be replaced because they are unreadable or unfit.
      workers: processes that decode and augment; 0: threads of the main process.
    """

    path: str = ""
    mix: tuple[Mix, ...] = ()
    validation: str = ""
    holdout: float = fraction(0.05)
    labels: str = ""
    masks: str = ""
    distance: Distance = Distance()
    regions: Regions = Regions()
    window: Window = Window()
    augment: Augment = Augment()
    footage: Footage = Footage()
    damaged: float = fraction(0.01)
    workers: int = bounded(0, 0, 1000)

    @property
    def shares(self) -> dict[str, float]:
        """Path of each set of `mix` to its share."""
        return {other.path: other.share for other in self.mix}
