"""Evaluation of posteriors: mock observations, the bound, ranks, the journal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harpsstar.errors import ConfigError
from harpsstar.evaluate.bound import Nuisances, cramer_rao, information
from harpsstar.evaluate.posterior import (
    N_RANKS,
    Settings,
    bound_of,
    fit_quality,
    observe,
    run_trial,
    uniformity,
)
from harpsstar.infer.fit.data import make_data
from harpsstar.infer.fit.engine import Fitter
from harpsstar.infer.fit.likelihood import Likelihood, Posterior
from harpsstar.infer.fit.options import Options
from harpsstar.infer.fit.space import Space
from harpsstar.labels import NAMES
from harpsstar.model.relations import VMAC_SCATTER, VMIC_SCATTER
from harpsstar.spectra.frame import canonical_wavelengths, pixels_from
from harpsstar.spectra.noise import snr_per_pixel


@pytest.fixture(scope="module")
def fitter():
    return Fitter(Options())


def star(space):
    point = space.start({"teff": 5500.0, "logg": 4.2, "m_h": -0.2, "vsini": 6.0})[None]
    return point


def test_mock_spectra_have_the_noise_they_claim(fitter):
    space = Space(Options(), fitter.emulator, [0.0])
    truth = star(space)
    spectra = [
        observe(fitter.emulator, space, truth, snr, torch.Generator().manual_seed(1))
        for snr in (60.0, 1e6)
    ]
    noisy, clean = (s.flux.value for s in spectra)
    sigma = spectra[0].uncertainty.array
    ratio = noisy / clean
    ratio /= np.median(ratio, axis=1, keepdims=True)
    pulls = (ratio - 1) * noisy / sigma
    assert np.std(pulls) == pytest.approx(1.0, abs=0.03)
    assert snr_per_pixel(noisy, sigma**-2.0) == pytest.approx(60.0, rel=0.1)


def test_bound_is_that_of_the_other_room(fitter):
    options = Options(fixed={"alpha": 0.1})
    space = Space(options, fitter.emulator, [0.0])
    truth = star(space)
    spectrum = observe(fitter.emulator, space, truth, 100.0, torch.Generator().manual_seed(1))
    data = make_data(pixels_from(spectrum), 0.0, 115000.0)
    likelihood = Likelihood(fitter.emulator, data)
    found = bound_of(Posterior(space, [likelihood]), truth[0].tolist(), 0.0)
    known = space.columns(truth)
    continuum = likelihood.continuum(likelihood.spectra(space.star(truth), truth[:, -1]))
    expected = information(
        fitter.emulator, canonical_wavelengths(), space.star(truth).labels.float(),
        ivar=likelihood.weight * continuum[0] ** 2, vmic=known["vmic"].float(),
        vmac=known["vmac"].float(), alpha=known["alpha"].float(),
        free=Nuisances(vmic=VMIC_SCATTER, vmac=VMAC_SCATTER, rv=300.0, continuum=4),
    )  # fmt: skip
    sigma = cramer_rao(expected)[0].diagonal().sqrt()
    for i, name in enumerate(NAMES):
        # There the priors of vmic and vmac do not depend on the labels.
        assert found[name] == pytest.approx(float(sigma[i]), rel=0.06), name


def test_ranks_of_a_wrong_posterior_are_not_uniform():
    rng = np.random.default_rng(0)
    right = rng.integers(0, N_RANKS + 1, 200)
    too_narrow = np.clip(rng.normal(50, 60, 200), 0, N_RANKS).astype(int)
    assert uniformity(right) > 0.01
    assert uniformity(too_narrow) < 1e-4
    assert math.isnan(uniformity(right[:5]))


def test_a_journal_resumes(tmp_path):
    journal = tmp_path / "stars.jsonl"
    arguments = {"snr": 100.0, "n": 2, "teff_range": (5000.0, 6000.0), "journal": journal}
    first = fit_quality(**arguments)
    told = []
    again = fit_quality(**arguments, progress=lambda done, n: told.append((done, n)))
    assert first == again and told == []
    with journal.open("a") as stream:
        stream.write('{"number": 2, "tru')
    assert fit_quality(**arguments) == first
    with pytest.raises(ConfigError, match="other settings"):
        fit_quality(**{**arguments, "snr": 50.0})


def test_a_trial_says_what_happened(fitter):
    trial = run_trial(fitter, Settings(100.0, (3500.0, 9750.0), "laplace", 3), 1)
    assert set(trial.truth) == set(trial.median) == set(trial.bound) == set(trial.inside)
    assert all(abs(trial.median[n] - trial.truth[n]) < 6 * trial.sigma[n] for n in NAMES)
    assert trial.cpu > 0 and not trial.rank


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="positive SNR"):
        fit_quality(snr=0.0)
