"""DBVI, eight times the frames, on GoPro.

Paper: Zhiyang Yu et al., "Deep Bayesian Video Frame Interpolation", ECCV 2022. Follows the published code (windows of
25 frames; frames 0, 8, 16, 24 to one of the seven between the inner two; batch 16; the rate times 0.4 from epochs 78,
118 and 158 on, 1 % of it for the mapping networks; no warm-up, no clipping, no averaged weights, float32). Where the
code stops is not known: the rate is smallest from epoch 158 on.

    python train.py --config configs/dbvi_gopro.py --workdir runs/dbvi_8x --config.data.path=GoPro/train \
        --config.data.validation=GoPro/test --config.frozen.raft=raft-things.pth

Expected: no figure was published that we know of. The published run used 16 GPUs. --config.fields.remat=True trades
time for memory. Labels in the place of RAFT's weights: `vfi-jax prepare flow GoPro/train --teacher dis --frames 25
--inputs 0,8,16,24`, then --config.data.labels=dis.

Variants: `x4k` is for X4K1000FPS (X-TRAIN; 49 of 65 frames, every second as target; windows start at 0, 4, 8, 12, 16,
published 0, 3, 8, 11, 16); `smoke` is some minutes on made-up scenes, with an untrained flow network.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "dbvi_8x",
            "fields": {"steps": 4, "remat": False, "flow_network": "raft"},
            "loss": {"weights": (0.2, 0.4, 1.0, 1.0)},
            "epochs": 180,
            "steps": 0,
            "batch_size": 16,
            "accumulate": 1,
            "seed": 1234,
            "ema": 0.0,
            "precision": "float32",
            "frozen": {"raft": "", "raft_small": ""},
            "data": {
                "path": "",
                "mix": (),
                "validation": "",
                "labels": "",
                "window": {"frames": 25, "inputs": (0, 8, 16, 24), "target": -1, "target_step": 1},
                "footage": {"step": 1},
                "augment": {
                    "enlarge": 0.0,
                    "crop": 512,
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
                "rate": 5e-4,
                "final_rate": 5e-4,
                "warmup": 0,
                "milestones": {"epochs": (78, 118, 158), "factor": 0.4},
                "rate_factors": {"mapping": 0.01},
                "weight_decay": 0.0,
                "clip_norm": 0.0,
            },
            "extra_losses": {"census": 0.0, "charbonnier": 0.0, "l1": 0.0, "laplacian": 0.0},
            "init_from": {"model": "", "weights": ""},
            "log_every": 100,
            "checkpoint_every": 2000,
            "validate_every": 10000,
            "validation_samples": 256,
            "tensorboard": False,
        }
    )
    if variant == "x4k":
        config.data.window.update({"frames": 49, "inputs": (0, 16, 32, 48), "target_step": 2})
        config.data.footage.step = 4
    elif variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 2, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
        config.fields.steps = 1
        config.frozen.raft = "untrained"
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, smoke, x4k")
    return config
