"""How the shipped weights of the fast network were made: `rife_lap`'s blocks narrowed, and teacher_frame by it.

Source: this project. The blocks see frames of half the sides; flow and mask are enlarged, and a small refinement
follows. It begins with the channels of `rife_lap` that explain the others, and learns from the true frames, and from
the frames and flows of `rife_lap`.

    python results/narrow.py clips.safetensors -o narrow.safetensors
    python train.py --config configs/rife_lap_s.py:first --workdir runs/a --config.init_from.weights=narrow.safetensors
    python train.py --config configs/rife_lap_s.py:second --workdir runs/b --config.init_from.weights=runs/a
    python train.py --config configs/rife_lap_s.py:third --workdir runs/c --config.init_from.weights=runs/b
    python train.py --config configs/rife_lap_s.py:fourth --workdir runs/d --config.init_from.weights=runs/c
    python train.py --config configs/rife_lap_s.py --workdir runs/e --config.init_from.weights=runs/d

with the sets of configs/rife_lap.py, and with `--config.teacher.weights` the teacher of the day. The last stage brings
back contrast. Time: `fourth` 19 ms a step on an H200, the
others 0.7 s (crops of 192x192, two CPU cores) to 3 s (256x256, one). Expected: 31.5 dB on devset, 0.5 more than RIFE
v4.25 as published.

Variants: `first` to `fourth`; `smoke` is a minute or two on made-up scenes, with a narrower network from fresh weights.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "rife_lap_s",
            "fields": {},
            "init_from": {"model": "rife_lap_s", "weights": ""},
            "teacher": {"model": "rife_lap", "weights": ""},
            "extra_losses": {
                "census": 0.0,
                "charbonnier": 1.0,
                "contrast": 12.0,
                "l1": 0.0,
                "laplacian": 0.0,
                "psnr": 0.03,
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
                    {"path": "scenes.safetensors", "share": 0.25},
                    {"path": "patterns.safetensors", "share": 0.125},
                ),
                "validation": "",
                "holdout": 0.03,
                "window": {"frames": 5, "sorted_share": 0.1},
                "augment": {"crop": 192},
                "workers": 0,
            },
            "optimizer": {
                "rate": 2e-4,
                "final_rate": 0.0,
                "warmup": 50,
                "weight_decay": 1e-4,
                "clip_norm": 1.0,
                "rate_factors": {"refine": 0.0},
            },
            "log_every": 20,
            "checkpoint_every": 80,
            "validate_every": 240,
            "validation_samples": 64,
            "tensorboard": False,
        }
    )
    if variant in ("first", "second", "third", "fourth"):
        config.extra_losses.contrast = 0.0
        config.data.augment.crop = 256
        config.optimizer.update({"rate": 4e-4, "rate_factors": {"refine": 3.0}})
    if variant in ("first", "second", "third"):
        config.update({"checkpoint_every": 100, "validate_every": 200})
        config.data.path = "clips.safetensors"
    if variant == "first":
        config.update({"steps": 240, "ema": 0.98, "checkpoint_every": 120, "validate_every": 120})
        config.extra_losses.psnr = 0.02
        config.optimizer.warmup = 20
    elif variant == "second":
        config.update({"steps": 1250, "ema": 0.995})
        config.extra_losses.psnr = 0.02
        config.optimizer.rate = 5e-4
    elif variant == "third":
        config.update({"steps": 1150, "ema": 0.997})
    elif variant == "fourth":
        config.update({"steps": 6000, "batch_size": 16, "ema": 0.999, "precision": "default"})
        config.update({"checkpoint_every": 1000, "validate_every": 2000, "log_every": 50})
    elif variant == "smoke":
        config.fields = {"widths": (16, 16, 16), "level_scales": (4, 2, 1), "refinement": (4, 8, 1)}
        config.update({"init_from": {"model": "", "weights": ""}, "steps": 20, "batch_size": 4, "log_every": 1})
        config.update({"checkpoint_every": 5, "validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "mix": (), "validation": ""})
        config.data.augment.crop = 64
        config.loss = {"pyramid_levels": 4}  # of crops that are halved
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, first, second, third, fourth, smoke")
    return config
