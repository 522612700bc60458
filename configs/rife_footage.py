"""The shipped weights, trained further on your own footage.

Source: this project; see configs/rife_lap.py.

    python train.py --config configs/rife_footage.py --workdir runs/footage --config.data.path=FOLDER_OF_VIDEOS

A packed set needs the least of a machine (3 GB of memory, no decoding):

    vfi-jax prepare pack clips -o clips.safetensors --frames 5 --step 2 --size 224 --short-side 360 --megabytes 3000
    python train.py --config configs/rife_footage.py --workdir runs/footage --config.data.path=clips.safetensors

Time: 1.7 s a step on two CPU cores, 68 minutes. Expected: a gain on footage like yours, which validation on held-out
clips shows, and a loss on any other; the shipped weights have 32.1 dB on devset.

Variants: `scratch` trains RIFE-m from fresh weights; `smoke` is a minute on made-up scenes.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "rife_lap",
            "init_from": {"model": "rife_lap", "weights": ""},
            "teacher": {"model": "", "weights": ""},
            "extra_losses": {"census": 0.0, "charbonnier": 1.0, "l1": 0.0, "laplacian": 0.0, "psnr": 0.02},
            "steps": 2400,
            "batch_size": 8,
            "accumulate": 1,
            "seed": 0,
            "ema": 0.998,
            "precision": "float32",
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "holdout": 0.05,
                "window": {"frames": 5, "sorted_share": 0.1},
                "augment": {"crop": 192},
                "footage": {"step": 2, "short_side": 360, "per_clip": 0},
                "workers": 0,
            },
            "optimizer": {
                "rate": 1e-4,
                "final_rate": 0.0,
                "warmup": 50,
                "weight_decay": 1e-4,
                "clip_norm": 1.0,
                "rate_factors": {"block0/": 0.0, "block1/": 0.0, "block2/": 0.0},  # small crops forget large motion
            },
            "log_every": 20,
            "checkpoint_every": 100,
            "validate_every": 300,
            "validation_samples": 64,
            "tensorboard": False,
        }
    )
    if variant == "scratch":
        config.update(
            {"model": "rife_m", "init_from": {"model": "", "weights": ""}, "steps": 200_000, "batch_size": 16}
        )
        config.optimizer.update({"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3})
        config.optimizer.rate_factors, config.extra_losses.psnr = {}, 0.0
    elif variant == "smoke":
        config.update({"init_from": {"model": "", "weights": ""}, "steps": 20, "batch_size": 4, "log_every": 1})
        config.update({"checkpoint_every": 5, "validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48"})
        config.data.augment.crop = 64
        config.optimizer.rate_factors = {}
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, scratch, smoke")
    return config
