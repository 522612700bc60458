"""The shipped weights of the fast network: `rife_lap` with narrower blocks, trained with `rife_lap` as its teacher.

Source: this project. The blocks see frames at half resolution; flow and mask are enlarged, and a small refinement
follows. Training starts from those channels of `rife_lap` that explain the others best, and uses the true frames and
the frames and flows of `rife_lap` as targets.

    python results/narrow.py clips.safetensors -o narrow.safetensors
    python train.py --config configs/rife_lap_s.py:first --workdir runs/a --config.init_from.weights=narrow.safetensors
    python train.py --config configs/rife_lap_s.py:second --workdir runs/b --config.init_from.weights=runs/a
    python train.py --config configs/rife_lap_s.py:third --workdir runs/c --config.init_from.weights=runs/b
    python train.py --config configs/rife_lap_s.py:fourth --workdir runs/d --config.init_from.weights=runs/c
    python train.py --config configs/rife_lap_s.py --workdir runs/e --config.init_from.weights=runs/d

with the sets of configs/rife_lap.py; --config.teacher.weights names the teacher's weights, which improved meanwhile.
The last stage restores contrast. Time: `fourth` 19 ms per step on an H200, the others 0.7 s (crops of 192x192, two CPU
cores) to 3 s (256x256, one). Expected: 31.5 dB on devset, 0.5 above RIFE v4.25 as published.

Variants: `first` to `fourth`; `smoke` takes a minute or two on synthetic scenes, with a narrower network from random
weights.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary

LARGE = {  # of the first four stages
    "extra_losses": {"charbonnier": 1.0, "psnr": 0.03},
    "data": {"augment": {"crop": 256}},
    "optimizer": {"rate": 4e-4, "rate_factors": {"refine": 3.0}},
}
EARLY = merged(  # of the first three
    LARGE, {"checkpoint_every": 100, "validate_every": 200, "data": {"path": "clips.safetensors"}}
)


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe of the last stage, or of another one."""
    recipe = defaults(
        model="rife_lap_s",
        init_from={"model": "rife_lap_s"},
        teacher={"model": "rife_lap"},
        extra_losses={"charbonnier": 1.0, "contrast": 12.0, "psnr": 0.03},
        steps=240, batch_size=8, ema=0.99,
        data={
            "path": "clips360.safetensors",
            "mix": ({"path": "scenes.safetensors", "share": 0.25}, {"path": "patterns.safetensors", "share": 0.125}),
            "holdout": 0.03,
            "window": {"frames": 5, "sorted_share": 0.1},
            "augment": {"crop": 192},
        },
        optimizer={"rate": 2e-4, "warmup": 50, "clip_norm": 1.0, "rate_factors": {"refine": 0.0}},
        log_every=20, checkpoint_every=80, validate_every=240,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        first=merged(EARLY, {
            "steps": 240, "ema": 0.98, "checkpoint_every": 120, "validate_every": 120,
            "extra_losses": {"charbonnier": 1.0, "psnr": 0.02},
            "optimizer": {"warmup": 20},
        }),
        second=merged(EARLY, {
            "steps": 1250, "ema": 0.995,
            "extra_losses": {"charbonnier": 1.0, "psnr": 0.02},
            "optimizer": {"rate": 5e-4},
        }),
        third=merged(EARLY, {"steps": 1150, "ema": 0.997}),
        fourth=merged(LARGE, {
            "steps": 6000, "batch_size": 16, "ema": 0.999, "precision": "default",
            "log_every": 50, "checkpoint_every": 1000, "validate_every": 2000,
        }),
        smoke=merged(SMOKE, {
            "fields": {"widths": (16, 16, 16), "level_scales": (4, 2, 1), "refinement": (4, 8, 1)},
            "loss": {"pyramid_levels": 4},  # crops are halved
            "init_from": {"model": ""},
        }),
    )  # fmt: skip
