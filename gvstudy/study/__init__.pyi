from . import reference, statistics
from .provenance import environment_line
from .store import Store

__all__ = ["Store", "environment_line", "reference", "statistics"]
