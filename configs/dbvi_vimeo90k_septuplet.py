"""DBVI, twice the frames, on Vimeo90K septuplets.

Paper: Zhiyang Yu et al., "Deep Bayesian Video Frame Interpolation", ECCV 2022. Follows the published code (frames 1, 3,
5, 7 to frame 4; batch 32; the rate times 0.4 from epochs 108 and 133 on, 1 % of it for the mapping networks; no
warm-up, no clipping, no averaged weights, float32). Where the code stops is not known: the rate is smallest from epoch
133 on.

    python train.py --config configs/dbvi_vimeo90k_septuplet.py --workdir runs/dbvi \
        --config.data.path=vimeo_septuplet --config.frozen.raft=raft-things.pth

Expected: 36.17 dB on Vimeo90K's septuplets (quoted by others for four steps; `python eval.py --model dbvi_2x --weights
runs/dbvi --benchmarks vimeo_septuplet --data .`). The published run used 16 GPUs. --config.fields.remat=True trades
time for memory. Without RAFT's weights: `vfi-jax prepare flow vimeo_septuplet --teacher dis --inputs 0,2,4,6`, then
--config.data.labels=dis; augmentation turns the flows with the frames.

Variants: `smoke` is some minutes on made-up scenes, with an untrained flow network; `overfit` has a network of two
steps learn eight windows of 128x128 by heart, named by data.path and data.validation alike, with labels of `dis`.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "default") -> ConfigDict:
    """The recipe, or one of its variants."""
    config = ConfigDict(
        {
            "model": "dbvi_2x",
            "fields": {"steps": 6, "remat": False, "flow_network": "raft"},
            "loss": {"weights": (1.0,) * 6},
            "epochs": 160,
            "steps": 0,
            "batch_size": 32,
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
                "window": {"frames": 7, "inputs": (0, 2, 4, 6), "target": 3},
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
                "rate": 5e-4,
                "final_rate": 5e-4,
                "warmup": 0,
                "milestones": {"epochs": (108, 133), "factor": 0.4},
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
    if variant == "smoke":
        config.update({"epochs": 0, "steps": 20, "batch_size": 2, "log_every": 1, "checkpoint_every": 5})
        config.update({"validate_every": 10, "validation_samples": 4})
        config.data.update({"path": "synthetic:48", "workers": 0})
        config.data.augment.crop = 64
        config.fields.steps = 2
        config.frozen.raft = "untrained"
    elif variant == "overfit":
        config.update({"epochs": 0, "steps": 400, "batch_size": 4, "log_every": 20, "checkpoint_every": 100})
        config.update({"validate_every": 100, "validation_samples": 8})
        config.data.update({"workers": 0, "labels": "dis"})
        config.data.augment.update({name: 0.0 for name in config.data.augment if name != "crop"})
        config.data.augment.crop = 128
        config.fields.steps = 2
        config.optimizer.milestones.update({"epochs": (), "factor": 1.0})
        config.optimizer.update({"rate": 1e-3, "final_rate": 1e-4, "warmup": 10})
    elif variant != "default":
        raise ValueError(f"no variant {variant!r}: there are default, overfit, smoke")
    return config
