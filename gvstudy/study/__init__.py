"""The experiments: grids of runs, the store that keeps them, and what their results say.

With them torch computes on one thread, so that a run has the same bits on any number of cores and
beside any number of others. OMP_NUM_THREADS asks for another number, and for other bits.

The names of `__init__.pyi` are imported when they are first used.
"""

import os

import lazy_loader
import torch

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)
