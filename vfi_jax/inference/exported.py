"""Exported programs as models: StableHLO that JAX alone runs, and the description that stands beside it.

FILE holds what `jax.export` serializes: RGB frames `[b, n, h, w, 3]` in 0..1, padded, and times `[b, 1, 1, 1]` in, the
RGB frame `[b, h, w, 3]` out, clipped; the weights are part of it. FILE.json describes it, see `Description`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.ops.pad import Padding
from vfi_jax.system import machine, strict_json
from vfi_jax.types import Array, Output

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
PADDED = ("multiple", "mode", "position")  # fields of `Padding` in a description


@dataclasses.dataclass(frozen=True)
class Description:
    """Contents of FILE.json, all that somebody without this package has to know.

    Attributes:
      model: name in MODELS.
      num_frames: number of input frames.
      any_time: False if the weights support t = 0.5 only.
      channel_order: of the frames in and out.
      padded_size: height and width of the padded frames; None where the program takes multiples of the padding's.
      padding: `multiple`, `mode` and `position`, as in `ops.pad.Padding`, for sides that the program takes.
      precision: a name in `nn.precision`.
      platforms: that the program was lowered for.
      weights: SHA-256 of the weights, as `weights.files.fingerprint` gives it.
      sha256: of FILE.
      calling_convention: version of `jax.export`'s.
      versions: of the packages that wrote it.
      format: version of this description.
    """

    model: str
    num_frames: int
    any_time: bool
    channel_order: str
    padded_size: tuple[int, int] | None
    padding: Mapping[str, Any]
    precision: str
    platforms: tuple[str, ...]
    weights: str
    sha256: str
    calling_convention: int
    versions: Mapping[str, str]
    format: int = FORMAT


def description_path(path: Path) -> Path:
    """Returns the file that describes an exported one."""
    return path.with_name(f"{path.name}.json")


@dataclasses.dataclass(frozen=True)
class ExportedSpec:
    """A model as the `Interpolator` sees it, from a file's description; see `ModelSpec`."""

    num_frames: int
    padding: Padding


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """An exported program, called like a model; it has no variables and gives the frame only."""

    path: Path
    about: Description
    program: export.Exported

    channel_order = "rgb"

    @property
    def variant(self) -> str:
        """Name of the model that it was."""
        return self.about.model

    @property
    def any_time(self) -> bool:
        """Whether its weights support other times than 0.5."""
        return self.about.any_time

    @property
    def spec(self) -> ExportedSpec:
        """Number of frames and padding."""
        return ExportedSpec(self.about.num_frames, Padding(**self.about.padding))

    def apply(
        self, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: ArrayLike, **inputs: Any
    ) -> Output:
        """Returns the frame.

        Raises:
          UserError: frames of another padded size, maps of t, or inputs beside frames and t.
        """
        del variables
        wanted, (height, width) = self.about.padded_size, frames.shape[2:4]
        if wanted not in (None, (height, width)):
            raise UserError(
                f"{self.path} takes frames that are padded to {wanted[1]}x{wanted[0]}, and these are padded to "
                f"{width}x{height}: export it with --size of these frames, or --size any"
            )
        if np.shape(t)[1:] != (1, 1, 1) or inputs:
            raise UserError(f"{self.path} takes frames and a time: maps and other inputs need the model itself")
        return Output(self.program.call(frames, t))


def read(path: Path) -> Exported:
    """Reads an exported file and its description.

    Raises:
      UserError: a file is missing, damaged, or of another version, or the program is for other platforms than JAX's
        default device here.
    """
    about = _read_description(path)
    try:
        serialized = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if hashlib.sha256(serialized).hexdigest() != about.sha256:
        raise UserError(f"{path} is damaged, or not the file that {description_path(path)} describes: export it again")
    _check_version(path, about)
    platform = export.default_export_platform()
    if platform not in about.platforms:
        raise UserError(
            f"{path} is for {', '.join(about.platforms)}, and JAX computes on {platform} here: "
            f"export it with --platforms {','.join((*about.platforms, platform))}"
        )
    try:
        return Exported(path, about, export.deserialize(bytearray(serialized)))
    except ImportError:
        raise UserError("exported programs need flatbuffers: pip install 'vfi_jax[export]'") from None
    except Exception as error:  # JAX has no error of its own for what it cannot read
        raise _other_version(path, about, str(error).strip().partition("\n")[0]) from None


def _read_description(path: Path) -> Description:
    beside = description_path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, or no regular one: name what `vfi-jax export` wrote")
    try:
        values = strict_json.read_object(beside)
    except FileNotFoundError:
        raise UserError(f"{beside} is missing: it belongs to {path}, which `vfi-jax export` writes with it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{beside} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if values.get("format") != FORMAT:
        version = machine.version_of("vfi_jax")
        raise UserError(
            f"{beside} has format {values.get('format')!r}, and vfi_jax {version} reads {FORMAT}: export again"
        )
    try:
        size, platforms = values["padded_size"], tuple(values["platforms"])
        Padding(**values["padding"])
        return Description(**{**values, "platforms": platforms, "padded_size": tuple(size) if size else None})
    except (KeyError, TypeError) as error:
        raise UserError(f"{beside} is damaged ({error}): export again") from None


def _check_version(path: Path, about: Description) -> None:
    lowest, highest = (
        export.minimum_supported_calling_convention_version,
        export.maximum_supported_calling_convention_version,
    )
    if not lowest <= about.calling_convention <= highest:
        raise _other_version(path, about, f"calling convention {about.calling_convention}, not {lowest}..{highest}")


def _other_version(path: Path, about: Description, reason: str) -> UserError:
    writer = about.versions.get("jax")
    return UserError(
        f"{path} was written by jax {writer}, and jax {jax.__version__} cannot read it ({reason}): export again"
    )
