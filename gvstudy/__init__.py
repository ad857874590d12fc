"""A study of the gradient variance loss for single image super-resolution.

The names of `__init__.pyi` are the package's surface. Each is imported when it is first used, so
that the loss costs torch alone. Everything else is reached through its module.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
