"""Options are read and checked before anything else happens."""

from __future__ import annotations

import pytest

from harpsstar.errors import ConfigError
from harpsstar.infer.fit.options import PARAMETERS, Gaussian, Options, Uniform, parse
from harpsstar.labels import LABELS, NUISANCES


@pytest.mark.parametrize("text", ["teff=5772±50", "teff=5772+-50", "teff = 5772 +/- 50"])
def test_a_gaussian_prior_has_three_spellings(text):
    assert parse(prior=[text]).priors == {"teff": Gaussian(5772.0, 50.0)}


def test_a_range_is_a_uniform_prior():
    assert parse(prior=["m_h=-1.5..-.5"]).priors == {"m_h": Uniform(-1.5, -0.5)}


def test_free_parameters_are_what_is_neither_fixed_nor_tied():
    options = parse(fix=["logg=4.44", "rv=0"], tie=["vmic"])
    everything = {label.name for label in (*LABELS, *NUISANCES)}
    assert set(options.free) == everything - {"logg", "vmic", "rv"}
    assert not options.free_rv


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"fix": ["tef=5000"]}, "unknown label 'tef'"),
        ({"fix": ["tef=5000"]}, "teff from 3500 to 9750 K"),
        ({"fix": ["logg=7"]}, "logg from 0 to 5"),
        ({"fix": ["logg=high"]}, "is not a number"),
        ({"fix": ["logg=nan"]}, "is not a number"),
        ({"fix": ["logg"]}, "NAME=VALUE"),
        ({"fix": ["logg=4", "logg=4.4"]}, "twice"),
        ({"fix": ["logg=4"], "prior": ["logg=4±0.1"]}, "logg is fixed and given a prior"),
        ({"fix": ["vmic=1.2"], "tie": ["vmic"]}, "vmic is fixed and tied"),
        ({"tie": ["vmac"], "prior": ["vmac=3±1"]}, "vmac is given a prior and tied"),
        ({"tie": ["teff"]}, "one of vmic"),
        ({"prior": ["teff=20000±50"]}, "teff from 3500 to 9750 K"),
        ({"prior": ["teff=3000..4000"]}, "teff from 3500 to 9750 K"),
        ({"prior": ["teff=6000..5000"]}, "an increasing range"),
        ({"prior": ["teff=5000±0"]}, "a positive number"),
        ({"prior": ["teff=5000±-3"]}, "a positive number"),
        ({"prior": ["teff~5000"]}, "NAME=VALUE"),
        ({"prior": ["teff=about 5000"]}, "teff=5772±50"),
        ({"sampler": "gibbs"}, "laplace, emcee"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(arguments, told):
    with pytest.raises(ConfigError, match="^.*" + told.replace("+", r"\+").replace("±", ".")):
        parse(**arguments)


def test_everything_fixed_leaves_nothing_to_fit():
    middle = {name: 0.5 * (label.low + label.high) for name, label in PARAMETERS.items()}
    with pytest.raises(ConfigError, match="at least one free"):
        Options(fixed=middle)
