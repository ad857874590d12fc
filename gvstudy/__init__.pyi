from .config import Run
from .data.sets import load_images
from .evaluation import evaluate
from .gradient_variance import (
    GradientDeviationLoss,
    GradientVarianceLoss,
    gradient_deviation_loss,
    gradient_variance_loss,
)
from .gradients import gradient_maps, variance_map, variance_ratio
from .losses import build_loss, register_loss
from .models import build_model, register_model
from .training import train

__version__: str

__all__ = [
    "GradientDeviationLoss",
    "GradientVarianceLoss",
    "Run",
    "build_loss",
    "build_model",
    "evaluate",
    "gradient_deviation_loss",
    "gradient_maps",
    "gradient_variance_loss",
    "load_images",
    "register_loss",
    "register_model",
    "train",
    "variance_map",
    "variance_ratio",
]
