"""UGSP, stage 2: the pruned interpolator on Vimeo90K triplets.

Paper: "Uncertainty-Guided Spatial Pruning Architecture for Efficient Frame Interpolation", ACM MM 2023. Follows the
published code: 300 epochs of 1523 steps, batch size 32; linear warm-up, then a cosine; no gradient clipping, no
averaged weights, float32; on the first 95 % of the training list. Label masks come from stage 1
(`ugsp_uncertainty.py`), whose run gives them once for the set:

    vfi-jax prepare masks vimeo_triplet --weights runs/ugsp_uncertainty

    python train.py --config configs/ugsp.py --workdir runs/ugsp --config.data.path=vimeo_triplet

With --config.data.masks= and --config.loss.guidance_weight=0 it trains without them: the keep rate alone drives the
masks. The published keep rates are 0.35, and 0.365 of `distill`; --config.loss.keep_rate and `--keep-rate` of `prepare
masks` change them together.

Expected: 35.62 dB on Vimeo90K's test list (`distill` 35.65; published, unchecked; `python eval.py --model ugsp
--weights runs/ugsp --benchmarks vimeo90k --data .`). 456,900 steps. The published runs continued an earlier one after
epoch 199, about which nothing is known.

Variants: `distill` adds IFRNet's geometry and flow distillation terms, with flow labels (`vfi-jax prepare flow
vimeo_triplet --teacher rife_v4_25`), and trains on the whole list; `refine` has a U-Net and a teacher; `smoke` takes a
minute or two on synthetic scenes, without masks, with a narrow network; `overfit` memorizes eight windows of 128x128,
which both data.path and data.validation name, with a narrow network and without masks.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary

NARROW = {"widths": (8, 12, 16, 24)}
UNGUIDED = {"guidance_weight": 0.0}


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ugsp",
        loss={"keep_rate": 0.35, "sparsity_weight": 0.1, "guidance_weight": 0.5},
        epochs=300,
        batch_size=32,
        seed=1234,
        data={
            "masks": "ugsp_uncertainty",
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "reverse_channels": 0.5, "flip_rows": 0.5, "flip_columns": 0.5,
                "transpose": 0.05, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={"rate": 1e-4, "final_rate": 1e-5, "warmup": 2000, "weight_decay": 1e-3},
        checkpoint_every=1523,
        validate_every=7615,
        validation_samples=160,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        distill={
            "model": "ugsp_distill", "loss": {"keep_rate": 0.365, "sparsity_weight": 0.1, "guidance_weight": 0.5},
            "batch_size": 24, "data": {"labels": "rife_v4_25", "validation": "vimeo_triplet"},
            "optimizer": {"weight_decay": 0.0}, "checkpoint_every": 2138, "validate_every": 10690,
        },
        refine={
            "model": "ugsp_refine", "loss": {"keep_rate": 0.35, "sparsity_weight": 0.15, "guidance_weight": 0.5},
        },
        smoke=merged(
            SMOKE, {"fields": NARROW, "loss": UNGUIDED, "data": {"masks": ""}, "optimizer": {"warmup": 5}}
        ),
        overfit={
            "epochs": 0, "steps": 240, "batch_size": 8, "log_every": 10, "checkpoint_every": 60,
            "validate_every": 60, "validation_samples": 8, "fields": NARROW, "loss": UNGUIDED,
            "data": {"masks": "", "workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 20, "weight_decay": 0.0, "clip_norm": 0.1},
        },
    )  # fmt: skip
