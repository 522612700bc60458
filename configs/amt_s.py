"""AMT-S on Vimeo90K triplets; `gopro` trains it at any time.

Paper: Zhen Li et al., "AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation", CVPR 2023. Follows the
published recipe: 300 epochs of 2138 steps, batch size 24; no warm-up, no gradient clipping, no averaged weights,
float32; validated on the test list. data.labels names the teacher of its flow labels; without labels the distillation
term is left out. The published teacher is LiteFlowNet; here any of

    vfi-jax prepare flow vimeo_triplet --teacher rife_v4_25      (then --config.data.labels=rife_v4_25)

    python train.py --config configs/amt_s.py --workdir runs/amt_s --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 35.97 dB on Vimeo90K's test list (published, not rounded, with labels; `python eval.py --model amt_s
--weights runs/amt_s --benchmarks vimeo90k_float --data .`). 641,400 steps.

Variants: `gopro` has windows of nine frames, one every eight, whose first and last frames are the inputs, a target
drawn from the seven between, 400 epochs and no labels; `smoke` takes a few minutes on synthetic scenes; `overfit`
memorizes eight windows of 128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="amt_s",
        loss={"distillation_weight": 0.002},
        epochs=300,
        batch_size=24,
        seed=2023,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "enlarge": 0.1, "reverse_channels": 0.5, "flip_rows": 0.3,
                "flip_columns": 0.5, "transpose": 0.05, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={"rate": 2e-4, "final_rate": 2e-5, "weight_decay": 0.0},
        checkpoint_every=2138,
        validate_every=2138,
        validation_samples=3782,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        gopro={
            "epochs": 400, "checkpoint_every": 1000, "validate_every": 5000, "validation_samples": 256,
            "data": {"window": {"frames": 9, "inputs": (0, 8), "target": -1}, "footage": {"step": 8}},
        },
        smoke=SMOKE,
        overfit={
            "epochs": 0, "steps": 120, "batch_size": 8, "log_every": 10, "checkpoint_every": 40,
            "validate_every": 40, "validation_samples": 8,
            "fields": {
                "widths": (12, 16, 20, 24), "encoder_widths": (8, 16, 24), "encoder_features": 24,
                "update_widths": ((16,), 8, 16, 24),
            },
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "clip_norm": 0.1},
        },
    )  # fmt: skip
