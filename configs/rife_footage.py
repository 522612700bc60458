"""Fine-tunes the shipped weights on your own footage.

Source: this project; see configs/rife_lap.py.

    python train.py --config configs/rife_footage.py --workdir runs/footage --config.data.path=FOLDER_OF_VIDEOS

A packed set needs least memory (3 GB) and no decoding:

    vfi-jax prepare pack clips -o clips.safetensors --frames 5 --step 2 --size 224 --short-side 360 --megabytes 3000
    python train.py --config configs/rife_footage.py --workdir runs/footage --config.data.path=clips.safetensors

Time: 1.7 s per step on two CPU cores, 68 minutes. Expected: a gain on footage like yours, which validation on held-out
clips shows, and a loss on any other; the shipped weights reach 32.1 dB on devset.

Variants: `scratch` trains RIFE-m from random weights; `smoke` takes a minute on synthetic scenes.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="rife_lap",
        init_from={"model": "rife_lap"},
        extra_losses={"charbonnier": 1.0, "psnr": 0.02},
        steps=2400,
        batch_size=8,
        ema=0.998,
        data={
            "window": {"frames": 5, "sorted_share": 0.1},
            "augment": {"crop": 192},
            "footage": {"step": 2, "short_side": 360},
        },
        optimizer={
            "rate": 1e-4, "warmup": 50, "clip_norm": 1.0,
            "rate_factors": {"block0/": 0.0, "block1/": 0.0, "block2/": 0.0},  # small crops forget large motion
        },
        log_every=20,
        checkpoint_every=100,
        validate_every=300,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        scratch={
            "model": "rife_m", "init_from": {"model": ""}, "steps": 200_000, "batch_size": 16,
            "extra_losses": {"charbonnier": 1.0},
            "optimizer": {
                "rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3, "rate_factors": {},
            },
        },
        smoke=merged(SMOKE, {"init_from": {"model": ""}, "optimizer": {"rate_factors": {}}}),
    )  # fmt: skip
