"""RIFE-m, which knows any time, on Vimeo90K septuplets.

Paper: Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Follows
the published code and its author's remarks: three distinct frames of the seven, in order, t from their places; the
distillation weight of issue 253. The code as checked in never passes t on; here it is passed, as the author says.

    python train.py --config configs/rife_m_vimeo90k_septuplet.py --workdir runs/m --config.data.path=vimeo_septuplet

Expected: 22.96, 31.87 and 34.25 dB on HD 4x at 544p, 720p and 1080p (published). 300 epochs; the published run used
four GPUs.

Variants: `paper` has the rates and the decay of the paper's text, where the code differs (from a secondary source, not
confirmed against the text); `smoke` is a minute on made-up scenes.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "rife_m",
            "loss": {"distillation_weight": 0.005},
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
                "window": {"frames": 7, "inputs": (), "sorted_share": 1.0},
                "augment": {"crop": 224},
                "workers": 8,
            },
            "optimizer": {"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3, "clip_norm": 0.0},
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 1000,
            "validate_every": 5000,
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
