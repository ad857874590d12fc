"""The experiments: grids of runs, the store that keeps them, and what their results say.

The names of `__init__.pyi` are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
