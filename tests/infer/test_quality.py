"""Each flag is raised by its own evidence, and by nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harpsstar.infer.quality import (
    MAX_EMISSION,
    MEANING,
    SERIOUS,
    Evidence,
    Flag,
    assess,
    emission_share,
    near_edge,
    text,
)
from harpsstar.labels import LABELS

GOOD = Evidence(
    labels=np.array([5500.0, 4.2, -0.3, 8.0]),
    sigma=np.array([5.0, 0.01, 0.01, 0.1]),
    lowest_logg=0.5,
    resolution=115000.0,
    misfit=0.01,
    snr=80.0,
    significance=5000.0,
    peak_ratio=0.2,
    order_share=np.ones(8),
    blaze="file b.fits",
    saturated=False,
)


def labels(**changes):
    values = dict(zip([label.name for label in LABELS], GOOD.labels, strict=True)) | changes
    return np.array(list(values.values()))


def shares(**by_order):
    values = np.ones(8)
    for name, value in by_order.items():
        values[int(name[1:])] = value
    return values


def test_a_good_spectrum_has_no_flag():
    assert assess(GOOD) == Flag(0)
    assert text(assess(GOOD)) == ""


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        (Flag.POOR_FIT, {"misfit": 0.05}),
        (Flag.HELD_BY_LIMIT, {"held": True}),
        (Flag.CONTRADICTED, {"contradicted": True}),
        (Flag.UNLIKE_SPECTRA, {"unlike": True}),
        (Flag.GRID_EDGE, {"labels": labels(teff=3520.0)}),
        (Flag.GRID_EDGE, {"labels": labels(teff=9740.0)}),
        (Flag.GRID_EDGE, {"labels": labels(logg=4.99)}),
        (Flag.GRID_EDGE, {"labels": labels(logg=0.52)}),
        (Flag.GRID_EDGE, {"labels": labels(m_h=-2.49)}),
        (Flag.GRID_EDGE, {"labels": labels(m_h=0.495)}),
        (Flag.GRID_EDGE, {"labels": labels(vsini=29.9)}),
        (Flag.GRID_EDGE | Flag.LARGE_ERROR, {"sigma": np.array([5.0, 0.9, 0.01, 0.1])}),
        (Flag.LOW_SNR, {"snr": 4.9}),
        (Flag.BAD_VELOCITY, {"significance": 20.0}),
        (Flag.DOUBLE_LINED, {"peak_ratio": 0.7}),
        (Flag.MISSING_ORDER, {"order_share": shares(o6=0.2)}),
        (Flag.BLAZE_ESTIMATED, {"blaze": "estimated"}),
        (Flag.VSINI_UPPER_LIMIT, {"labels": labels(vsini=2.0)}),
        (Flag.VSINI_UPPER_LIMIT, {"sigma": np.array([5.0, 0.01, 0.01, 4.5])}),
        (Flag.SATURATED, {"saturated": True}),
        (Flag.EMISSION, {"emission": 0.01}),
        (Flag.LARGE_ERROR, {"sigma": np.array([5.0, 0.01, 0.4, 0.1])}),
        (Flag.DOUBLE_LINED, {"companion": (9.0, 0.2)}),
        (Flag(0), {"companion": (9.0, 0.03)}),
        (Flag(0), {"companion": (7.0, 0.5)}),
        (Flag.CLIPPED, {"clipped": 0.2}),
        (Flag.WRONG_ERRORS, {"noise_ratio": 10.0}),
        (Flag.WRONG_ERRORS, {"snr": 1e7}),
    ],
)
def test_each_flag_is_raised_by_its_evidence_alone(flag, changes):
    assert assess(dataclasses.replace(GOOD, **changes)) == flag


def test_every_flag_has_a_meaning_and_a_remedy():
    assert set(MEANING) == set(Flag)
    assert all(cause and remedy for cause, remedy in MEANING.values())


def test_a_star_that_does_not_rotate_is_not_at_the_edge():
    assert not near_edge(dataclasses.replace(GOOD, labels=labels(vsini=0.0)))


def test_flags_add_up_and_are_named_in_the_order_of_their_bits():
    both = assess(dataclasses.replace(GOOD, snr=2.0, misfit=0.2, blaze="estimated"))
    assert both == Flag.POOR_FIT | Flag.LOW_SNR | Flag.BLAZE_ESTIMATED
    assert text(both) == "POOR_FIT,LOW_SNR,BLAZE_ESTIMATED"


def test_what_only_informs_leaves_a_row_ok():
    informing = (Flag.MISSING_ORDER | Flag.BLAZE_ESTIMATED | Flag.VSINI_UPPER_LIMIT | Flag.SATURATED
                 | Flag.RESOLUTION_ASSUMED)  # fmt: skip
    assert not informing & SERIOUS
    assert informing | SERIOUS == Flag(sum(Flag))


def test_nothing_known_is_never_a_good_spectrum():
    """What came out as nan or without any pixel must not pass for a result."""
    unknown = dataclasses.replace(
        GOOD, misfit=np.nan, snr=np.nan, significance=np.nan, labels=np.full(4, np.nan)
    )
    assert assess(unknown) & SERIOUS


def test_emission_is_broad_and_cosmic_rays_are_not():
    rng = np.random.default_rng(0)
    flux = 1 + rng.normal(size=(8, 4096)) / 50
    ivar = np.full(flux.shape, 2500.0)
    hit = flux.copy()
    hit[:, ::40] += 2.0
    bright = flux.copy()
    for place in range(200, 4000, 400):
        bright[:, place : place + 12] += 0.5
    assert emission_share(flux, ivar) == emission_share(hit, ivar) == 0
    assert emission_share(bright, ivar) > MAX_EMISSION
    assert emission_share(bright, np.where(bright > 1.3, 0.0, ivar)) == 0
