"""IFRNet, which knows any time, on GoPro's 240 Hz clips: eight times the frames; S and L with --config.model.

Paper: Lingtong Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation", CVPR 2022.
Follows the published code: windows of nine frames, one every eight, whose ends are the inputs; no flow labels.
There, a step learns all seven targets of 2 windows on each of 4 GPUs; here a sample is one of the seven, drawn, so that
a batch of 56 holds as many, and 4200 passes are as many steps as 600 there.

    python train.py --config configs/ifrnet_gopro.py --workdir runs/gopro --config.data.path=GOPRO/train \
        --config.data.validation=GOPRO/test

Expected: 29.84 dB on GoPro's test clips, eight times the frames (published). Validation is on the middle targets, whole
frames. The published run used four GPUs; at 720p reading images is what takes the time, so make records first
(`vfi-jax prepare records GOPRO/train -o DIR --frames 9 --step 8`).

Variants: `smoke` is a minute or two on made-up scenes.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "ifrnet",
            "loss": {"geometry_weight": 0.01},
            "epochs": 4200,
            "steps": 0,
            "batch_size": 56,
            "accumulate": 1,
            "seed": 1234,
            "ema": 0.0,
            "precision": "float32",
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "window": {"frames": 9, "inputs": (0, 8), "target": -1, "target_step": 1},
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
                "footage": {"step": 8},
                "workers": 8,
            },
            "optimizer": {"rate": 1e-4, "final_rate": 1e-5, "warmup": 0, "weight_decay": 0.0, "clip_norm": 0.0},
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "teacher": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 1000,
            "validate_every": 5000,
            "validation_samples": 256,
            "tensorboard": False,
        }
    )
    if variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 4, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, smoke")
    return config
