"""The plan: each experiment's section reads as it did when its runs were computed."""

import re
import subprocess

import pytest
from effects import saved_results
from test_ids import REFERENCE

from gvstudy.paths import checkout, package_data
from gvstudy.study import reference

PLAN = "data/reference/PLAN.md"
# Results, and the experiments of the plan that they belong to.
EXPERIMENTS = {
    "constant_trials": (1,),
    "constants": (1,),
    "small_constants": (1,),
    "other_constant_trials": (1,),
    "other_constants": (1,),
    "lengths": (1, 2),
    "lengths_checks": (1,),
    "valid_padding": (3,),
    "large_crops": (3, 7),
    "fan_out_trials": (11,),
    "fan_out_lengths": (7, 11),
    "fan_out_constants": (7, 11),
    "fan_out_small_constants": (11,),
    "table2_constant_trials": (4,),
    "table2_official": (4,),
    "longer_trials": (5,),
    "full_size": (6,),
    "full_size_cpu": (6,),
    "exact": (9,),
    "to_the_end_rates": (8,),
    "to_the_end": (8,),
    "fronts": (10,),
    "rivals": (10,),
    "edsr_fronts": (10,),
    "other_rivals": (10,),
    "rival_rates": (10,),
    "edge_trials": (12,),
    "edge_loss": (12,),
    "colour_trials": (13,),
    "colour_loss": (13,),
    "colour_elsewhere": (14,),
    "colour_longer": (14,),
    "colour_rates": (15,),
    "colour_best_rate": (15,),
    "colour_full_rates": (16,),
    "colour_full": (16,),
    "colour_model_rates": (17,),
    "colour_models": (17,),
    "long_rates": (18,),
    "long_best_rate": (18,),
    "equal_variance": (19,),
    "larger_constant_trials": (20,),
    "larger_constants": (20,),
    "longer": (5,),
}


def sections(plan):
    """The text of each experiment by its number, and that of the rules as number 0."""
    parts = re.split(r"^## ", plan, flags=re.MULTILINE)
    found = {0: next(part for part in parts if part.startswith("Rules for all"))}
    for part in parts:
        if match := re.match(r"Experiment (\d+):", part):
            found[int(match[1])] = part
    return found


def plan_at(revision):
    shown = subprocess.run(
        ["git", "show", f"{revision}:{PLAN}"], cwd=checkout(), capture_output=True, text=True
    )
    if shown.returncode:
        pytest.skip(f"revision {revision} is not in this clone's history")
    return shown.stdout


def test_the_plan_has_all_experiments_amendments_and_a_status_of_each():
    plan = package_data("reference/PLAN.md").read_text(encoding="utf-8")
    assert sections(plan).keys() == set(range(21))
    status = plan.partition("## Status")[2]
    spans = re.findall(r"^\| (\d+)(?: to (\d+))? \|", status, re.MULTILINE)
    named = [range(int(first), int(last or first) + 1) for first, last in spans]
    assert sorted(number for some in named for number in some) == list(range(1, 21))
    assert "## Amendments" in plan


def test_every_result_is_of_an_experiment_or_older_than_the_plan():
    assert saved_results() - EXPERIMENTS.keys() == set(REFERENCE)
    numbers = {number for planned in EXPERIMENTS.values() for number in planned}
    assert numbers == set(range(1, 21))


def runs_of_its_own(results):
    """The runs that aren't among earlier results, too, where an earlier section planned them."""
    runs = reference.load(results)
    before = list(EXPERIMENTS)[: list(EXPERIMENTS).index(results)]
    for earlier in set(before) & set(reference.known_results()):
        runs = runs[~runs["run"].isin(reference.load(earlier)["run"])]
    return runs


@pytest.mark.parametrize("results", EXPERIMENTS)
def test_a_section_reads_as_when_its_runs_were_computed(results):
    if checkout() is None or not (checkout() / ".git").exists():
        pytest.skip("no git history")
    saved = package_data(f"reference/{results}/runs.csv")
    if not saved.is_file():
        pytest.skip(f"no rows of {results} yet")
    today = sections(package_data("reference/PLAN.md").read_text(encoding="utf-8"))
    for revision in runs_of_its_own(results)["revision"].unique():
        then = sections(plan_at(revision))
        for number in (0, *EXPERIMENTS[results]):
            assert today[number] == then[number]


def test_a_changed_section_is_noticed():
    plan = "## Rules for all\nx\n## Experiment 1: a\nseeds 1 to 3\n## Experiment 2: b\n"
    assert sections(plan)[1] != sections(plan.replace("1 to 3", "1 to 4"))[1]
