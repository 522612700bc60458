"""AMT-G on Vimeo90K triplets.

Paper: Zhen Li et al., "AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation", CVPR 2023. Follows the
published recipe: that of AMT-S with other learning rates and more weight on flow labels; see `configs/amt_s.py`.

    python train.py --config configs/amt_g.py --workdir runs/amt_g --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 36.53 dB on Vimeo90K's test list (the paper, unchecked; not rounded, with labels; `python eval.py
--model amt_g --weights runs/amt_g --benchmarks vimeo90k_float --data .`). 641,400 steps.

Variants: `smoke` takes some minutes on synthetic scenes.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="amt_g",
        loss={"distillation_weight": 0.005},
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
        optimizer={"rate": 1.5e-4, "final_rate": 2e-5, "weight_decay": 0.0},
        checkpoint_every=2138,
        validate_every=2138,
        validation_samples=3782,
    )  # fmt: skip
    return vary(recipe, variant, smoke=SMOKE)
