"""Fingerprints: is a copy of a data set, picture for picture, the one that results are made of?"""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from gvstudy import images
from gvstudy.data import check_name, digest, is_there, load_images, registry, set_pictures
from gvstudy.files import package_data

SAME, RENAMED, OTHER, MISSING, EXTRA = "same", "renamed", "other pixels", "missing", "extra"


def fingerprint(pictures: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a picture: `image`, `channels`, `height`, `width`, `sha256` of the decoded pixels."""
    rows = [(name, *picture.shape, digest({name: picture})) for name, picture in pictures.items()]
    return pd.DataFrame(rows, columns=["image", "channels", "height", "width", "sha256"])


def known_fingerprints(name: str) -> pd.DataFrame:
    """The committed fingerprints of a set. Raises ValueError where there are none."""
    check_name(name)
    table = package_data(f"fingerprints/{name}.csv")
    if not table.is_file():
        raise ValueError(f"{name} has no fingerprints to be compared with")
    with table.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"image": str})


def check(name: str) -> pd.DataFrame:
    """Compare the set that is here with its fingerprints: `image`, `status`, `note`.

    Content counts first: a picture under another name is "renamed". One of the right name but
    other pixels is "other pixels", and the note says if it has another size. Raises ValueError for
    a set that isn't here or has no fingerprints.
    """
    known = known_fingerprints(name)
    if "centre_of" in registry()[name] and not is_there(name):
        pictures = load_images(name)
    else:
        pictures = {key: images.read(path) for key, path in set_pictures(name).items()}
    here = fingerprint(pictures).set_index("image")
    by_content = {sha256: image for image, sha256 in here["sha256"].items()}
    rows, matched = [], set()
    for real in known.itertuples():
        status, note = MISSING, ""
        if real.image in here.index and here.loc[real.image, "sha256"] == real.sha256:
            status = SAME
            matched.add(real.image)
        elif real.sha256 in by_content:
            status, note = RENAMED, f"here it is {by_content[real.sha256]}"
            matched.add(by_content[real.sha256])
        elif real.image in here.index:
            ours = here.loc[real.image]
            status = OTHER
            matched.add(real.image)
            shapes = [(row.channels, row.height, row.width) for row in (ours, real)]
            if shapes[0] != shapes[1]:
                note = f"{_size(*shapes[0])}, expected {_size(*shapes[1])}"
        rows.append((real.image, status, note))
    rows += [(image, EXTRA, "") for image in here.index if image not in matched]
    return pd.DataFrame(rows, columns=["image", "status", "note"])


def _size(channels: int, height: int, width: int) -> str:
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
