"""RIFE on Vimeo90K triplets.

Paper: Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Follows
the published code: 300 epochs of 761 steps, batch size 64, no gradient clipping, no averaged weights, float32.

    python train.py --config configs/rife_vimeo90k.py --workdir runs/rife --config.data.path=vimeo_triplet

Expected: 35.62 dB on Vimeo90K's test list (published; `python eval.py --model rife --weights runs/rife --benchmarks
vimeo90k --data .`). 228,300 steps; the published run used four GPUs.

Variants: `paper` has the learning rates and the weight decay of the paper's text, which differ from the code's (from a
secondary source, not confirmed against the text); `smoke` takes a minute on synthetic scenes.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="rife",
        loss={"distillation_weight": 0.01},
        epochs=300,
        batch_size=64,
        seed=1234,
        data={"window": {"frames": 3, "inputs": (0, 2), "target": 1}, "workers": 8},
        optimizer={"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3},
        checkpoint_every=761,
        validate_every=3805,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        paper={"optimizer": {"rate": 1e-4, "final_rate": 1e-5, "weight_decay": 1e-4}},
        smoke=merged(SMOKE, {"optimizer": {"warmup": 5}}),
    )  # fmt: skip
