"""IFRNet on Vimeo90K triplets; S and L with --config.model=ifrnet_s and ifrnet_l.

Paper: Lingtong Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation", CVPR 2022.
Follows the published code (300 epochs of 2138 steps, batch 24; no warm-up, no clipping, no averaged weights, float32;
the whole training list, judged on the test list). Its flow labels are those of a teacher, whom data.labels names;
without, the distillation is left out. Published: LiteFlowNet; here any of

    vfi-jax prepare flow vimeo_triplet --teacher rife_v4_25      (then --config.data.labels=rife_v4_25)

    python train.py --config configs/ifrnet_vimeo90k.py --workdir runs/ifrnet --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 35.80 dB on Vimeo90K's test list, S 35.59, L 36.20 (published, not rounded, with labels; `python eval.py
--model ifrnet --weights runs/ifrnet --benchmarks vimeo90k --data .`). 641,400 steps; the published run used four GPUs.

Variants: `smoke` is a minute or two on made-up scenes; `overfit` has a narrow network learn eight windows of 128x128
by heart, named by data.path and data.validation alike.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "ifrnet",
            "loss": {"geometry_weight": 0.01, "distillation_weight": 0.01},
            "epochs": 300,
            "steps": 0,
            "batch_size": 24,
            "accumulate": 1,
            "seed": 1234,
            "ema": 0.0,
            "precision": "float32",
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "labels": "",
                "window": {"frames": 3, "inputs": (0, 2), "target": 1},
                "augment": {
                    "enlarge": 0.1,
                    "crop": 224,
                    "jitter": 0.0,
                    "reverse_channels": 0.5,
                    "flip_rows": 0.3,
                    "flip_columns": 0.5,
                    "transpose": 0.05,
                    "reverse_time": 0.5,
                    "rotate": 0.0,
                },
                "workers": 8,
            },
            "optimizer": {"rate": 1e-4, "final_rate": 1e-5, "warmup": 0, "weight_decay": 0.0, "clip_norm": 0.0},
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "teacher": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 2138,
            "validate_every": 2138,
            "validation_samples": 3782,
            "tensorboard": False,
        }
    )
    if variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 4, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
    elif variant == "overfit":
        config.update({"epochs": 0, "steps": 240, "batch_size": 8, "log_every": 10, "checkpoint_every": 60})
        config.update({"validate_every": 60, "validation_samples": 8, "fields": {"widths": (12, 16, 20, 24)}})
        config.data.workers = 0
        config.data.augment.update({name: 0.0 for name in config.data.augment if name != "crop"})
        config.data.augment.crop = 128
        config.optimizer.update({"rate": 1e-3, "final_rate": 1e-4, "clip_norm": 0.1})
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, overfit, smoke")
    return config
