"""The fields of a training recipe: frozen dataclasses with their defaults and bounds.

`Train` is the whole recipe. Each field of it is a flag of train.py, such as `--config.batch_size=8` or
`--config.optimizer.rate_factors.block0/=0.5`. The defaults are those of a plain fine-tuning run; a file in `configs/`
lists what its paper says, by `defaults`, and its variants, by `vary`.
"""

from vfi_jax.config.data import Augment, Data, Distance, Footage, Mix, Regions, Scenes, Window
from vfi_jax.config.fields import INT_MAX, bounded, fraction
from vfi_jax.config.recipes import NO_AUGMENTATION, SMOKE, defaults, merged, vary
from vfi_jax.config.train import EarlyStopping, Guard, Milestones, Optimizer, Plateau, Pretrained, Train
from vfi_jax.config.values import as_dict, check_bounds, field_path, flat, is_exact, parse, unknown_fields

__all__ = [
    "INT_MAX",
    "NO_AUGMENTATION",
    "SMOKE",
    "Augment",
    "Data",
    "Distance",
    "EarlyStopping",
    "Footage",
    "Guard",
    "Milestones",
    "Mix",
    "Optimizer",
    "Plateau",
    "Pretrained",
    "Regions",
    "Scenes",
    "Train",
    "Window",
    "as_dict",
    "bounded",
    "check_bounds",
    "defaults",
    "field_path",
    "flat",
    "fraction",
    "is_exact",
    "merged",
    "parse",
    "unknown_fields",
    "vary",
]
