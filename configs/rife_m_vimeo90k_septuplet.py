"""RIFE-m, which supports any time, on Vimeo90K septuplets.

Paper: Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Follows
the published code and its author's remarks: three distinct frames of the seven in time order, t from their places, and
the distillation weight of issue 253. The published code never passes t on; here it is passed, as the author describes.

    python train.py --config configs/rife_m_vimeo90k_septuplet.py --workdir runs/m --config.data.path=vimeo_septuplet

Expected: 22.96, 31.87 and 34.25 dB on HD 4x at 544p, 720p and 1080p (published). 300 epochs; the published run used
four GPUs.

Variants: `paper` has the learning rates and the weight decay of the paper's text, which differ from the code's (from a
secondary source, not confirmed against the text); `smoke` takes a minute on synthetic scenes.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="rife_m",
        loss={"distillation_weight": 0.005},
        epochs=300,
        batch_size=64,
        seed=1234,
        data={"window": {"frames": 7, "sorted_share": 1.0}, "workers": 8},
        optimizer={"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3},
        validate_every=5000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        paper={"optimizer": {"rate": 1e-4, "final_rate": 1e-5, "weight_decay": 1e-4}},
        smoke=merged(SMOKE, {"optimizer": {"warmup": 5}}),
    )  # fmt: skip
