"""A study of the gradient variance loss for single image super-resolution.

The names below are the package's surface; everything else is reached through its modules.
"""

from gvstudy.data import load_images
from gvstudy.evaluation import evaluate
from gvstudy.gradient_variance import GradientVarianceLoss, gradient_variance_loss
from gvstudy.gradients import gradient_maps, variance_map, variance_ratio
from gvstudy.losses import build_loss
from gvstudy.models import build_model
from gvstudy.runs import Run
from gvstudy.training import train

__version__ = "0.1.0"

__all__ = [
    "GradientVarianceLoss",
    "Run",
    "build_loss",
    "build_model",
    "evaluate",
    "gradient_maps",
    "gradient_variance_loss",
    "load_images",
    "train",
    "variance_map",
    "variance_ratio",
]
