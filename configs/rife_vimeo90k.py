"""RIFE on Vimeo90K triplets.

Paper: Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Follows
the published code (300 epochs of 761 steps, batch 64; no clipping, no averaged weights, float32).

    python train.py --config configs/rife_vimeo90k.py --workdir runs/rife --config.data.path=vimeo_triplet

Expected: 35.62 dB on Vimeo90K's test list (published; `python eval.py --model rife --weights runs/rife --benchmarks
vimeo90k --data .`). 228,300 steps; the published run used four GPUs.

Variants: `paper` has the rates and the decay of the paper's text, where the code differs (from a secondary source, not
confirmed against the text); `smoke` is a minute on made-up scenes.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "rife",
            "loss": {"distillation_weight": 0.01},
            "epochs": 300,
            "steps": 0,
            "batch_size": 64,
            "accumulate": 1,
            "seed": 1234,
            "ema": 0.0,
            "precision": "float32",
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "window": {"frames": 3, "inputs": (0, 2), "target": 1},
                "augment": {"crop": 224},
                "workers": 8,
            },
            "optimizer": {"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3, "clip_norm": 0.0},
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 761,
            "validate_every": 3805,
            "validation_samples": 256,
            "tensorboard": False,
        }
    )
    if variant == "paper":
        config.optimizer.update({"rate": 1e-4, "final_rate": 1e-5, "weight_decay": 1e-4})
    elif variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 4, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
        config.optimizer.warmup = 5
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, paper, smoke")
    return config
