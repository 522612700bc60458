"""The shipped weights: RIFE v4.25's network with a refinement, trained for fidelity in five stages.

Source: this project. The network and its initial weights are Practical-RIFE's (MIT); the objective is the Laplacian
loss of SoftSplat's and FILM's variants plus a Charbonnier loss and PSNR. With small crops the coarse blocks forget
large motion, so the third stage starts from the published blocks 0 to 2, and the later ones hardly train or freeze
them. Pixelwise losses reward blur; the last stage restores contrast.

    vfi-jax prepare pack clips -o clips.safetensors --frames 5 --step 2 --size 288 --short-side 360 --megabytes 1600
    vfi-jax prepare pack clips -o clips360.safetensors --frames 5 --step 2 --size 288 --short-side 360 --megabytes 2140
    vfi-jax prepare pack clips -o clips256.safetensors --frames 5 --step 2 --size 256 --short-side 256 --megabytes 2140
    vfi-jax prepare scenes photos -o scenes.safetensors --count 1700 --size 288 --slowest 8 --fastest 160 --seed 5000
    vfi-jax prepare scenes -o patterns.safetensors --count 400 --size 256 --slowest 4 --fastest 64 --seed 9000
    python train.py --config configs/rife_lap.py:first --workdir runs/first
    python train.py --config configs/rife_lap.py:second --workdir runs/second --config.init_from.weights=runs/first
    python train.py --config configs/rife_lap.py:third --workdir runs/third --config.init_from.weights=FILE3
    python train.py --config configs/rife_lap.py:fourth --workdir runs/fourth --config.init_from.weights=FILE4
    python train.py --config configs/rife_lap.py --workdir runs/fifth --config.init_from.weights=FILE5

FILE3 to FILE5 and the shipped file are averages of a stage's weights and earlier ones; vfi_jax/weights/rife_lap.md says
which, and how the sets of the first stages differed. (`python results/blend.py WEIGHTS DATA` draws such a curve.) Time:
`fourth` 20 ms per step on an H200, the others 1.5 s on two CPU cores. Expected: 32.2 dB on devset, 1.15 above RIFE
v4.25 as published.

Variants: `first` to `fourth`; `smoke` takes a minute or two on synthetic scenes, with a narrow network from random
weights.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary

EARLY = {  # of the first three stages
    "fields": {"refinement": (16, 48, 1)}, "ema": 0.998, "checkpoint_every": 100, "validate_every": 600,
    "data": {
        "path": "clips.safetensors",
        "mix": ({"path": "scenes.safetensors", "share": 0.25}, {"path": "patterns.safetensors", "share": 0.125}),
    },
    "optimizer": {"warmup": 50},
}  # fmt: skip


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe of the fifth stage, or of another one."""
    recipe = defaults(
        model="rife_lap",
        init_from={"model": "rife_lap"},
        extra_losses={"charbonnier": 1.0, "contrast": 12.0, "psnr": 0.04},
        steps=240, batch_size=8, ema=0.99,
        data={
            "path": "clips360.safetensors",
            "mix": (
                {"path": "clips256.safetensors", "share": 0.375},
                {"path": "scenes.safetensors", "share": 0.125},
                {"path": "patterns.safetensors", "share": 0.125},
            ),
            "holdout": 0.03,
            "window": {"frames": 5, "sorted_share": 0.1},
            "augment": {"crop": 192},
            "footage": {"step": 2, "short_side": 360},
        },
        optimizer={
            "rate": 1.5e-4, "warmup": 20, "clip_norm": 1.0,
            "rate_factors": {"block0/": 0.0, "block1/": 0.0, "block2/": 0.5, "refine": 0.0},
        },
        log_every=20, checkpoint_every=80, validate_every=240,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        first=merged(EARLY, {
            "model": "rife_v4_25", "fields": {}, "init_from": {"model": "rife_v4_25"}, "steps": 2400,
            "extra_losses": {"charbonnier": 1.0},
            "data": {"mix": (), "holdout": 0.05},
            "optimizer": {"rate": 1e-4, "rate_factors": {}},
        }),
        second=merged(EARLY, {
            "init_from": {"model": "rife_v4_25"}, "steps": 1750,
            "extra_losses": {"charbonnier": 1.0, "psnr": 0.02},
            "optimizer": {"rate_factors": {"refine": 3.0}},
        }),
        third=merged(EARLY, {
            "steps": 1500,
            "extra_losses": {"charbonnier": 1.0, "psnr": 0.04},
            "optimizer": {"rate_factors": {"block0/": 0.0, "block1/": 0.0, "block2/": 0.0, "refine": 3.0}},
        }),
        fourth={
            "steps": 13200, "batch_size": 16, "ema": 0.999, "precision": "default",
            "extra_losses": {"charbonnier": 1.0, "psnr": 0.04},
            "data": {
                "mix": (
                    {"path": "clips256.safetensors", "share": 0.3125},
                    {"path": "scenes.safetensors", "share": 0.25},
                    {"path": "patterns.safetensors", "share": 0.0625},
                ),
                "augment": {"crop": 256},
            },
            "optimizer": {
                "rate": 2e-4, "warmup": 100,
                "rate_factors": {"block0/": 0.05, "block1/": 0.05, "block2/": 0.2, "refine": 2.0},
            },
            "log_every": 50, "checkpoint_every": 1000, "validate_every": 3000,
        },
        smoke=merged(SMOKE, {
            "fields": {"widths": (24, 24, 16, 16, 16), "refinement": (4, 8, 1)}, "init_from": {"model": ""},
            "optimizer": {"rate_factors": {"refine": 3.0}},
        }),
    )  # fmt: skip
