"""The weights that fitted curves choose are those of the plan's rule."""

import numpy as np
import pandas as pd
import pytest

from gvstudy.study import fronts

WEIGHTS = (1e-3, 1e-2, 1e-1)


def rows(change=lambda weight: (0.0, 0.0, 0.0), weights=WEIGHTS, seeds=(100, 101)):
    """Rows of three images, whose metrics differ from image to image and from seed to seed."""
    made = []
    for weight in weights:
        for seed in seeds:
            for image in range(3):
                base = (30 + image + seed, 0.8 + image / 10 + seed, 0.05 + image + seed)
                values = (b + c for b, c in zip(base, change(weight), strict=True))
                keys = {"model": "vdsr", "scale": 2, "set": "A", "image": str(image), "seed": seed}
                made.append(
                    {**keys, "weight": weight, **dict(zip(fronts.METRICS, values, strict=True))}
                )
    return pd.DataFrame(made)


ALONE = rows(weights=(0,)).drop(columns="weight")


def parabola(weight):
    """Known changes: -0.01 x, 0.02 x and -0.001 (4 x - x^2), with x from 0 to 2 decades."""
    x = np.log10(weight / 1e-3)
    return -0.04 * x, 0.02 * x, -0.001 * (4 * x - x**2)


def test_changes_are_means_over_images_minus_the_same_seed_of_l2():
    found = fronts.trial_changes(rows(parabola), ALONE)
    assert len(found) == len(WEIGHTS) * 2
    for row in found.itertuples():
        changed = (row.psnr_y, row.variance_ratio, row.variance_distance)
        assert changed == pytest.approx(parabola(row.weight))


def test_a_seed_that_diverged_is_left_out():
    trials = rows(parabola)
    lost = (trials["weight"] == 1e-1) & (trials["seed"] == 101)
    trials.loc[lost, list(fronts.METRICS)] = np.nan
    found = fronts.trial_changes(trials, ALONE)
    assert len(found) == len(WEIGHTS) * 2 - 1
    assert found[found["weight"] == 1e-1]["seed"].to_list() == [100]


def test_a_parabola_in_log_weight_is_found_again():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    assert len(fitted) == fronts.POINTS
    assert fitted["weight"].iloc[[0, -1]].to_list() == pytest.approx([1e-3, 1e-1])
    ratios = fitted["weight"].to_numpy()[1:] / fitted["weight"].to_numpy()[:-1]
    assert ratios == pytest.approx(ratios[0])
    expected = np.array([parabola(weight) for weight in fitted["weight"]])
    assert fitted[list(fronts.METRICS)].to_numpy() == pytest.approx(expected)


def test_the_chosen_weight_costs_at_most_what_the_plan_allows():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    weight = fronts.chosen(fitted)  # the distance falls to the end, but 0.05 dB are spent before
    assert fronts.at(fitted, weight)["psnr_y"] == pytest.approx(-0.05, abs=1e-4)
    assert weight == pytest.approx(1e-3 * 10**1.25, rel=0.01)
    free = fitted.assign(psnr_y=0.0)
    assert fronts.chosen(free) == pytest.approx(1e-1)
    dear = fitted.assign(psnr_y=-1.0)
    assert fronts.chosen(dear) == pytest.approx(1e-3), "the smallest, if all cost too much"


def test_the_matched_weight_raises_the_ratio_as_much_or_there_is_none():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    assert fronts.matched(fitted, 0.03) == pytest.approx(1e-3 * 10**1.5, rel=0.01)
    assert fronts.matched(fitted, 0.05) is None


def test_an_amount_has_a_parabola_in_itself():
    amounts = (0.0, 0.5, 1.0)
    changed = fronts.trial_changes(rows(lambda a: (-(a**2), a, 1 - a), weights=amounts), ALONE)
    fitted = fronts.curve(changed, "linear")
    assert fitted["psnr_y"].to_numpy() == pytest.approx(-(fitted["weight"] ** 2).to_numpy())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the rows don't pair up"):
        fronts.trial_changes(rows(seeds=(102,)), ALONE)
    changed = fronts.trial_changes(rows(parabola), ALONE)
    with pytest.raises(ValueError, match="through 2 weights; expected 3"):
        fronts.curve(changed[changed["weight"] > 1e-3])
    with pytest.raises(ValueError, match="unknown spacing 'cubic'; known: log, linear"):
        fronts.curve(changed, "cubic")
    with pytest.raises(ValueError, match="a weight of 0; expected positive"):
        fronts.curve(changed.replace({"weight": {1e-3: 0.0}}))
