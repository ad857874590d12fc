"""What may never move: the id of every reference run, and the runs of every grid in every size.

Neither needs a data set. A change that moves one of these ids orphans finished trainings.
"""

import hashlib
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest
from effects import saved_results

from gvstudy.config import Run
from gvstudy.paths import package_data
from gvstudy.study.common import GRID_SIZES
from gvstudy.study.entry import description_of
from gvstudy.study.grids import GRIDS
from gvstudy.study.store import run_id

DIGESTS = {  # SHA-256 of the decoded training pictures
    "BSDS500": "42a3b9b16a90be5264c4ed9cfcbb9b2e8f147754432db76c021298383fdff481",
    "DIV2K_train_centre128": "d4ac435862d28d495522cc413cc6a2edbd10d9434ff3f9a2d5388472c2eb1b6e",
}
# Results that are older than the plan.
REFERENCE = ("chosen", "controls", "official", "readings", "reduced", "trials", "weights")
KEYS = {  # SHA-256 of a grid's keys in all sizes, its first 16 digits
    "headline": "e38cdb6d1b099598",
    "table1": "ba3516aaea73e491",
    "table2": "0900fef57283d29a",
    "official": "633b7d262f2b319e",
    "weights": "79805355874f0bb0",
    "chosen": "4348cdb3df13a403",
    "arms": "f536754d2f765acb",
    "again": "5d792600b8aeb0c9",
    "scales": "efe2b72f88678111",
    "models": "3a604d91587200b8",
    "rates": "81dab448f854ed57",
    "best": "db427a5464e9808c",
    "adam": "4b6d2e2663baeab4",
    "pixel-only": "06239b956ed605d0",
    "own": "c365136226bd22fb",
    "budget": "677bffa917bb84f5",
    "finetuned": "5820dd3218f5b64c",
    "sweep": "9a35dc5258f85ae0",
    "constant-trials": "bbde4fde12c80dab",
    "constants": "176290a3573637cc",
    "small-constants": "11a5a225cac966b9",
    "other-constant-trials": "7793eb6f52a002b7",
    "other-constants": "7da4691c7182152b",
    "lengths": "620e915294e4b351",
    "lengths-checks": "168e4e2ec8289831",
    "large-crops": "85faa3c182c84b75",
    "valid-padding": "c0c3be636cf2df78",
    "fan-out-trials": "ed1984299561de0a",
    "larger-constant-trials": "06de3cf151417334",
    "larger-constants": "b822756f9c0df361",
    "fan-out-lengths": "d89bef67e8d15c7d",
    "fan-out-constants": "44ea98be349a104f",
    "fan-out-small-constants": "7e2446114c5d6507",
    "table2-constant-trials": "1e1737fac290074d",
    "table2-official": "444bd3a22f3682fe",
    "longer-trials": "d7e2ae6c4966cc6b",
    "longer": "740ee5629b6086a6",
    "full-size": "fe43b46ec7203376",
    "exact": "4ba986f3f40d5d45",
    "to-the-end-rates": "a5af3e1ccab9bad6",
    "to-the-end": "70a2185b5847b7b8",
    "fronts": "4125d07b6f9bf010",
    "rivals": "2cb31874469d000e",
    "rival-rates": "2e0f0d9bea971363",
    "edsr-fronts": "6cb0116144d6b5dc",
    "other-rivals": "fad4e268bfbb0946",
    "longer-rivals": "7512c749f7e7bfde",
    "rivals-best-rate": "b0aad33430eb7df3",
    "edge-trials": "015644d108e93cee",
    "edge-loss": "551684939f9906a9",
    "colour-trials": "590e6dcb7a03436e",
    "colour-loss": "a68445cfeba1715e",
    "colour-elsewhere": "2fb6ab2006d71bf0",
    "colour-longer": "271174f05d37d14c",
    "colour-rates": "cd671dc68a142a73",
    "colour-best-rate": "c38305e73198eef8",
    "colour-model-rates": "9d3bae3cf5a9bed5",
    "colour-models": "e00e3b379e3ad7f0",
    "colour-full-rates": "cc1d89fb56bc4496",
    "colour-full": "87819480d722b60d",
    "long-rates": "7652fd83c9576fdc",
    "long-best-rate": "fd888dd472b82959",
    "equal-variance": "2d385fcf1764c30c",
}


# Results of the planned experiments, with their numbers of runs; more will come.
PLANNED = {
    "constant_trials": 36,
    "constants": 160,
    "small_constants": 48,
    "other_constant_trials": 96,
    "other_constants": 64,
    "lengths": 200,
    "lengths_checks": 24,
    "valid_padding": 32,
    "large_crops": 192,
    "fan_out_trials": 24,
    "larger_constant_trials": 8,
    "larger_constants": 16,
    "fan_out_lengths": 64,
    "fan_out_constants": 32,
    "fan_out_small_constants": 48,
    "table2_constant_trials": 24,
    "table2_official": 144,
    "longer_trials": 8,
    "full_size": 32,
    "full_size_cpu": 4,
    "longer": 52,
    "exact": 32,
    "to_the_end_rates": 27,
    "to_the_end": 54,
    "fronts": 224,
    "rivals": 42,
    "edsr_fronts": 64,
    "other_rivals": 64,
    "rival_rates": 6,
    "edge_trials": 20,
    "edge_loss": 30,
    "colour_trials": 40,
    "colour_loss": 30,
    "colour_rates": 24,
    "colour_best_rate": 18,
    "colour_elsewhere": 48,
    "colour_longer": 12,
    "colour_model_rates": 48,
    "colour_models": 24,
    "colour_full_rates": 16,
    "colour_full": 12,
    "long_rates": 24,
    "long_best_rate": 18,
    "equal_variance": 48,
}


def test_no_result_is_left_out():
    assert saved_results() == {*REFERENCE, *PLANNED}


def reference_runs(results):
    """One row a reference run, with its id; a run may be in several results."""
    tables = [
        pd.read_csv(package_data(f"reference/{name}/runs.csv").open(), dtype={"run": str})
        for name in results
    ]
    return pd.concat(tables, ignore_index=True)


def described(row):
    """The run that a row of `runs.csv` describes."""
    given = {field.name: row[field.name] for field in fields(Run) if pd.notna(row.get(field.name))}
    return Run(**{name: int(v) if isinstance(v, float) and name in WHOLE else v
                  for name, v in given.items()})  # fmt: skip


WHOLE = {field.name for field in fields(Run) if field.type in (int, "int")}


@pytest.mark.parametrize(
    ("results", "count"),
    [(REFERENCE, 757), *(((name,), count) for name, count in PLANNED.items())],
)
def test_the_ids_of_all_reference_runs_follow_from_their_descriptions(results, count):
    runs = reference_runs(results)
    assert len(runs) == count
    moved = [
        row["run"]
        for _, row in runs.iterrows()
        if run_id(described(row), DIGESTS[row["train_set"]]) != row["run"]
    ]
    assert moved == []


def test_shipped_weights_tell_which_run_they_are_of():
    paths = sorted(Path(str(package_data("reference"))).glob("*/*.safetensors"))
    assert len(paths) == 6
    for path in paths:
        run = Run(**description_of(path))
        assert run_id(run, DIGESTS[run.train_set]) == path.stem


def keys(name):
    """The keys of a grid's runs in every size, in one precision so that machines agree."""
    return [
        replace(run, precision="float32").key
        for size in sorted(GRID_SIZES)
        for run in GRIDS[name](size)
    ]


def test_no_grid_is_left_out():
    assert KEYS.keys() == GRIDS.keys()
    assert sum(len(keys(name)) for name in GRIDS) == 7252


@pytest.mark.parametrize("name", KEYS)
def test_the_runs_of_a_grid_stay_what_they_are(name):
    checksum = hashlib.sha256("\n".join(keys(name)).encode()).hexdigest()
    assert checksum[:16] == KEYS[name]
