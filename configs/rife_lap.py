"""How the shipped weights were made: RIFE v4.25's network with a refinement, trained for fidelity, in five stages.

Source: this project. The network and the weights it starts from are Practical-RIFE's (MIT); the objective is the
Laplacian-pyramid distance of SoftSplat's and FILM's variants, a Charbonnier term and decibels. Small crops make coarse
blocks forget large motion, so the third stage starts from blocks 0 to 2 as published, and the later ones hardly move or
keep them. Distances from pixel to pixel reward blur: the last stage brings back contrast.

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

FILE3 to FILE5 and what is shipped are means of a stage and what came before; which, and where the sets of the first
stages differed, stands in vfi_jax/weights/rife_lap.md. (`python results/blend.py WEIGHTS DATA` draws such a curve.)
Time: `fourth` 20 ms a step on an H200, the others 1.5 s on two CPU cores. Expected: 32.2 dB on devset, 1.15 above RIFE
v4.25 as published.

Variants: `first` to `fourth`; `smoke` is a minute or two on made-up scenes, with a narrow network from fresh weights.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "rife_lap",
            "fields": {},
            "init_from": {"model": "rife_lap", "weights": ""},
            "teacher": {"model": "", "weights": ""},
            "extra_losses": {
                "census": 0.0,
                "charbonnier": 1.0,
                "contrast": 12.0,
                "l1": 0.0,
                "laplacian": 0.0,
                "psnr": 0.04,
            },
            "steps": 240,
            "batch_size": 8,
            "accumulate": 1,
            "seed": 0,
            "ema": 0.99,
            "precision": "float32",
            "data": {
                "path": "clips360.safetensors",
                "mix": (
                    {"path": "clips256.safetensors", "share": 0.375},
                    {"path": "scenes.safetensors", "share": 0.125},
                    {"path": "patterns.safetensors", "share": 0.125},
                ),
                "validation": "",
                "holdout": 0.03,
                "window": {"frames": 5, "sorted_share": 0.1},
                "augment": {"crop": 192},
                "footage": {"step": 2, "short_side": 360, "per_clip": 0},
                "workers": 0,
            },
            "optimizer": {
                "rate": 1.5e-4,
                "final_rate": 0.0,
                "warmup": 20,
                "weight_decay": 1e-4,
                "clip_norm": 1.0,
                "rate_factors": {"block0/": 0.0, "block1/": 0.0, "block2/": 0.5, "refine": 0.0},
            },
            "log_every": 20,
            "checkpoint_every": 80,
            "validate_every": 240,
            "validation_samples": 64,
            "tensorboard": False,
        }
    )
    if variant in ("first", "second", "third"):
        config.update({"fields": {"refinement": (16, 48, 1)}, "ema": 0.998})
        config.update({"checkpoint_every": 100, "validate_every": 600})
        config.extra_losses.contrast = 0.0
        config.data.path = "clips.safetensors"
        config.data.mix = (
            {"path": "scenes.safetensors", "share": 0.25},
            {"path": "patterns.safetensors", "share": 0.125},
        )
        config.optimizer.warmup = 50
    if variant == "first":
        config.update({"model": "rife_v4_25", "steps": 2400, "init_from": {"model": "rife_v4_25", "weights": ""}})
        config.fields = {}
        config.extra_losses.psnr = 0.0
        config.data.update({"mix": (), "holdout": 0.05})
        config.optimizer.update({"rate": 1e-4})
        config.optimizer.rate_factors = {}
    elif variant == "second":
        config.update({"steps": 1750, "init_from": {"model": "rife_v4_25", "weights": ""}})
        config.extra_losses.psnr = 0.02
        config.optimizer.rate_factors = {"refine": 3.0}
    elif variant == "third":
        config.steps = 1500
        config.optimizer.rate_factors = {"block0/": 0.0, "block1/": 0.0, "block2/": 0.0, "refine": 3.0}
    elif variant == "fourth":
        config.update({"steps": 13200, "batch_size": 16, "ema": 0.999, "precision": "default"})
        config.update({"checkpoint_every": 1000, "validate_every": 3000, "log_every": 50})
        config.extra_losses.contrast = 0.0
        config.data.augment.crop = 256
        config.data.mix = (
            {"path": "clips256.safetensors", "share": 0.3125},
            {"path": "scenes.safetensors", "share": 0.25},
            {"path": "patterns.safetensors", "share": 0.0625},
        )
        config.optimizer.update({"rate": 2e-4, "warmup": 100})
        config.optimizer.rate_factors = {"block0/": 0.05, "block1/": 0.05, "block2/": 0.2, "refine": 2.0}
    elif variant == "smoke":
        config.fields = {"widths": (24, 24, 16, 16, 16), "refinement": (4, 8, 1)}
        config.update({"init_from": {"model": "", "weights": ""}, "steps": 20, "batch_size": 4, "log_every": 1})
        config.update({"checkpoint_every": 5, "validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "mix": (), "validation": ""})
        config.data.augment.crop = 64
        config.optimizer.rate_factors = {"refine": 3.0}
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, first, second, third, fourth, smoke")
    return config
