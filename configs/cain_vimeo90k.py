"""CAIN on Vimeo90K triplets.

Paper: Myungsub Choi et al., "Channel Attention Is All You Need for Video Frame Interpolation", AAAI 2020. Follows the
published code and its command (200 epochs of 3207 steps, batch 16; the rate is halved where the test list's loss stays;
the whole training list; no warm-up, no averaged weights, float32). Its validation loss is that of float frames, ours of
rounded ones.

    python train.py --config configs/cain_vimeo90k.py --workdir runs/cain --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 34.65 dB on Vimeo90K's test list (IFRNet's table; `python eval.py --model cain --weights runs/cain
--benchmarks vimeo90k --data .`). 641,400 steps; the published run used one GPU.

Variants: `smoke` is a minute on made-up scenes, with a shallow network; `overfit` has one learn eight windows of
128x128 by heart, named by data.path and data.validation alike.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "cain",
            "fields": {"groups": 5, "blocks": 12},
            "epochs": 200,
            "steps": 0,
            "batch_size": 16,
            "accumulate": 1,
            "seed": 12345,
            "ema": 0.0,
            "precision": "float32",
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "window": {"frames": 3, "inputs": (0, 2), "target": 1},
                "augment": {
                    "enlarge": 0.0,
                    "crop": 256,
                    "jitter": 0.05,
                    "reverse_channels": 0.0,
                    "flip_rows": 0.5,
                    "flip_columns": 0.5,
                    "transpose": 0.0,
                    "reverse_time": 0.5,
                    "rotate": 0.0,
                },
                "workers": 8,
            },
            "optimizer": {
                "rate": 2e-4,
                "final_rate": 2e-4,
                "warmup": 0,
                "plateau": {"factor": 0.5, "patience": 5},
                "beta2": 0.99,
                "weight_decay": 0.0,
                "clip_norm": 0.1,
                "skip_above": 10.0,
            },
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 3207,
            "validate_every": 3207,
            "validation_samples": 3782,
            "tensorboard": False,
        }
    )
    if variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 4, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4, "fields": {"groups": 1, "blocks": 2}})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
    elif variant == "overfit":
        config.update({"epochs": 0, "steps": 480, "batch_size": 8, "log_every": 20, "checkpoint_every": 120})
        config.update({"validate_every": 120, "validation_samples": 8, "fields": {"groups": 1, "blocks": 1}})
        config.data.workers = 0
        config.data.augment.update({name: 0.0 for name in config.data.augment if name != "crop"})
        config.data.augment.crop = 128
        config.optimizer.update({"rate": 2e-3, "final_rate": 1e-4, "warmup": 20})
        config.optimizer.plateau.factor = 1.0
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, overfit, smoke")
    return config
