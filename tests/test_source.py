"""A digest of one's own code: it changes with every edit that matters, and with nothing else."""

import copy
import functools
import subprocess
import sys
import textwrap
from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn

from gvstudy._source import Source, accepted, check_entry

MODULE = """
import torch
import torch.nn.functional as F
from torch import nn

POWER = 2
TABLE = {"a": [1, 2.5], "b": (None, "x")}


def helper(x):
    return x.abs() ** POWER


def inner_only(x):
    return x + 1


def loss(sr, hr, factor=3.0, *, offset=0):
    first = lambda x: helper(x)  # names the helper inside of it
    return factor * first(sr - hr).mean() + offset + TABLE["a"][0]


def outer(weight):
    def loss(sr, hr):
        return weight * (sr - hr).mean()
    return loss


class Net(nn.Module):
    width = 8

    def __init__(self, scale):
        super().__init__()
        self.body = nn.Conv2d(3, self.width, 3)

    def forward(self, x):
        return helper(self.body(x))


closure = outer(0.5)
partial_loss = __import__("functools").partial(loss, factor=2.0)
"""


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """The digest of a name of the module, with some text of it replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(1000))

    def of(name, old="", new=""):
        assert old in MODULE
        path = tmp_path / f"v{next(count)}" / "mine.py"
        path.parent.mkdir()
        path.write_text(MODULE.replace(old, new))
        space = {"__name__": "mine"}
        exec(compile(path.read_text(), path, "exec"), space)
        return Source(space[name]).digest()

    return of


@pytest.mark.parametrize("name", ["loss", "closure", "partial_loss", "Net"])
def test_the_same_text_has_the_same_digest(digest, name):
    assert digest(name) == digest(name)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("loss", "+ offset", "- offset"),  # the function itself
        ("loss", "factor=3.0", "factor=3.5"),  # a default
        ("loss", "offset=0", "offset=1"),  # a keyword's default
        ("loss", "x.abs()", "x.square()"),  # a helper
        ("loss", "POWER = 2", "POWER = 3"),  # a constant that the helper names
        ("loss", "2.5", "2.25"),  # a constant within a table
        ("closure", "outer(0.5)", "outer(0.25)"),  # a closure's value
        ("partial_loss", "factor=2.0", "factor=2.5"),  # an argument that is bound
        ("partial_loss", "x.abs()", "x.square()"),
        ("Net", "width = 8", "width = 9"),  # a class's attribute
        ("Net", "3, self.width, 3", "3, self.width, 5"),  # a method
        ("Net", "x.abs()", "x.square()"),  # a helper of a method
    ],
)
def test_an_edit_is_another_digest(digest, name, old, new):
    assert digest(name) != digest(name, old, new)


@pytest.mark.parametrize(
    ("old", "new"), [("x + 1", "x + 2"), ("width = 8", "width = 9"), ("outer(0.5)", "outer(1)")]
)
def test_what_a_function_does_not_name_does_not_count(digest, old, new):
    assert digest("loss") == digest("loss", old, new)


@pytest.mark.slow
def test_another_process_has_the_same_digest(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    code = (
        "import mine; from gvstudy._source import Source; "
        "print(*(Source(getattr(mine, n)).digest() for n in ('loss', 'closure', 'Net')))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1
    assert len(set(told.pop().split())) == 3


def test_a_constant_that_is_changed_later_counts():
    space = {"__name__": "mine"}
    exec("x = 1", space)

    def loss(sr, hr):
        return (sr - hr).mean() * LATER

    before = Source(loss).digest()
    globals()["LATER"] = 5
    try:
        assert Source(loss).digest() != before
    finally:
        globals()["LATER"] = 1
    assert Source(loss).digest() == before


LATER = 1
ARRAY, TENSOR = np.arange(4), torch.arange(4.0)


@functools.cache
def cached(x):
    return sqrt(x)


def test_arrays_tensors_modules_and_wrapped_functions_are_read():
    seen = set()
    for value in (ARRAY, ARRAY + 1, TENSOR, TENSOR + 1, cached, nn.L1Loss(), {1, 2}, nn.Linear):

        def loss(sr, hr, value=value):
            return value

        seen.add(Source(loss).digest())
    assert len(seen) == 8


def test_an_object_s_own_state_counts():
    class Scaled:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, sr, hr):
            return self.factor * (sr - hr).mean()

    assert Source(Scaled(1)).digest() == Source(Scaled(1)).digest()
    assert Source(Scaled(1)).digest() != Source(Scaled(2)).digest()


def test_private_settings_count_and_caches_do_not():
    class Edge(nn.Module):
        def __init__(self, power):
            super().__init__()
            self._power, self._cache = power, {}

        def forward(self, sr, hr):
            return (sr - hr).abs().pow(self._power).mean()

    one = Edge(1)
    digest = Source(one).digest()
    assert digest == Source(Edge(1)).digest()
    assert digest != Source(Edge(4)).digest()
    one._cache["seen"] = True
    assert digest == Source(one).digest()


def test_which_numbers_are_together_in_a_set_counts():
    digests = set()
    for pairs in ({(1, 2), (3, 4)}, {(1, 3), (2, 4)}):
        digests.add(Source(functools.partial(accepted, pairs)).digest())
    assert len(digests) == 2


def test_copying_and_inspecting_are_no_edits():
    class Plain:
        def __call__(self, sr, hr):
            return (sr - hr).mean()

    before = Source(Plain).digest()
    copy.deepcopy(Plain())
    assert Plain.__annotations__ == {}
    assert Source(Plain).digest() == before


def test_what_contains_itself_ends():
    knot = []
    knot.append(knot)

    def loss(sr, hr):
        return loss if knot else sr

    assert Source(loss).digest() == Source(loss).digest()


def test_a_source_that_cannot_be_read_asks_for_a_version():
    space = {"__name__": "nowhere"}
    exec("def loss(sr, hr): return (sr - hr).mean()", space)
    with pytest.raises(ValueError, match=r"source of loss can't be read.*nowhere\.loss.*version="):
        Source(space["loss"]).digest()
    first, second = (Source(space["loss"], version).digest() for version in ("1", "2"))
    assert first != second
    assert first == Source(space["loss"], "1").digest()


def test_an_object_that_cannot_be_read_asks_for_a_version():
    stream = sys.stdout

    def loss(sr, hr):
        return stream

    with pytest.raises(ValueError, match="has no source that can be read"):
        Source(loss).digest()


def test_only_the_options_that_are_named_are_passed():
    options = {"patch_size": 8, "padding": "zeros"}
    assert accepted(lambda sr, hr: sr, options) == {}
    assert accepted(lambda sr, hr, padding: sr, options) == {"padding": "zeros"}


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("a+b", print, r"loss name 'a\+b' is not allowed; letters"),
        ("", print, "loss name '' is not allowed"),
        ("-x", print, "loss name '-x' is not allowed"),
        (3, print, "loss name 3 is not allowed"),
        ("mine", 3, "loss 'mine' must be callable, got 3"),
        ("mine", torch.dist, "loss 'mine': the signature of .*dist.* can't be read; wrap it"),
        ("built", print, r"loss 'built' exists already \(built in\); choose another"),
        ("own", print, r"loss 'own' exists already \(textwrap\.dedent\)"),
    ],
)
def test_names_that_are_refused(name, code, message):
    known = {"built": None, "own": Source(functools.partial(textwrap.dedent))}
    with pytest.raises(ValueError, match=message):
        check_entry("loss", name, code, known)


def test_a_function_may_replace_itself():
    text = textwrap.dedent("def loss(sr, hr):\n    return {}\n")
    spaces = [{"__name__": "book"} for _ in range(2)]
    for space, value in zip(spaces, "ab", strict=True):
        exec(text.format(repr(value)), space)
    check_entry("loss", "mine", spaces[1]["loss"], {"mine": Source(spaces[0]["loss"], "1")})
