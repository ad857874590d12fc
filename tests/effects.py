"""Reference rows, and effects recomputed from them: what tests of the texts share."""

import pandas as pd

from gvstudy.study import reference, statistics

DIV2K = "DIV2K_valid_centre256"


def saved_results():
    """The names of all results that come with the project."""
    return {name for name in reference.known_results() if not name.startswith(reference.FRESH)}


def rows(name, *grids, **fields):
    """The rows of these results that have these values."""
    found = reference.load(name, grids)
    for field, value in fields.items():
        found = found[found[field] == value]
    return found


def with_gmsd(name):
    """The rows of results on DIV2K's centres with GMSD, its sign turned."""
    looks = reference.load(name, [], [DIV2K], perceptual=True)
    found = rows(name, set=DIV2K).merge(looks[["run", "image", "gmsd"]], on=["run", "image"])
    return found.assign(gmsd=-found["gmsd"])


def effect(ours, base, metric="psnr_y"):
    """What `ours` changes against `base`, in one cell."""
    (found,) = statistics.compare(ours, base, metric).values()
    return found


def mean(ours, base, metric="psnr_y"):
    return effect(ours, base, metric).mean


def by_loss(found):
    """The rows by loss."""
    return dict(iter(found.groupby("loss")))


def by_factor(found):
    """The rows by the factor on the loss and the loss."""
    return dict(iter(found.groupby([found["pixel_weight"].fillna(1), "loss"])))


def from_script_weights():
    """The trainings that decide at 375 steps, which start as the authors' script does."""
    names = ("fan-out-lengths", "fan-out-constants")
    found = pd.concat([rows(name.replace("-", "_"), name, set=DIV2K) for name in names])
    return by_factor(found[found["lengths_from"].isna()])


def controls(found):
    """L2, L2+GV, and the controls of how long their steps are."""
    rescaled = found["recipe"] == "official-pixel-only"
    plain = by_loss(found[found["lengths_from"].isna() & ~rescaled])
    variants = {"L2": plain["l2"], "L2+GV": plain["l2+gv"]}
    variants["yoked"] = found[found["lengths_from"] == "l2+gv"]
    variants["mirror"] = found[found["lengths_from"] == "l2"]
    return variants | {"rescaled": found[rescaled]}
