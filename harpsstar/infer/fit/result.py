"""What a fit gives: a table, draws from the posterior, the best spectrum, pictures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from specutils import Spectrum, SpectrumCollection
from torch import Tensor

from harpsstar.constants import ONE_SIGMA
from harpsstar.infer import quality
from harpsstar.infer.epochs import are_alike
from harpsstar.infer.fit.laplace import Draws, quantile, summary
from harpsstar.infer.fit.options import PARAMETERS, Gaussian
from harpsstar.infer.fit.sampler import load_arviz
from harpsstar.infer.fit.solution import Solution
from harpsstar.infer.predict import Measurement
from harpsstar.infer.prepare import observation_of
from harpsstar.infer.refine import goodness
from harpsstar.infer.uncertainty import Uncertainty
from harpsstar.io import Observation
from harpsstar.io.results import Row, provenance, to_table
from harpsstar.labels import LABELS, NAMES
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import SAMPLES
from harpsstar.spectra.frame import canonical_wavelengths

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

#: Share of the true posterior that Laplace's approximation must hold to be trusted.
ADEQUATE = 0.5
#: Width of a posterior in units of its prior's above which a nuisance is not measured.
PRIOR_ALONE = 0.95
#: Descriptions of the columns that are no parameters; none of them has a unit.
_EXTRA_TEXT = {
    "jitter": "Excess variance of the noise found by the fit, relative to its variance",
    "misfit": "Median error of the physics found by the fit, in units of the continuum",
    "n_outliers": "Pixels left out: residuals above 5 sigma, and their neighbours",
    "chi2_red_orders": "Reduced chi-squared of each of the eight orders",
    "converged": "Whether the optimiser and the sampler have converged",
    "at_edge": "Parameters at a limit of the grid or of a prior",
    "n_starts": "Number of starting points tried",
    "method": "Method for the posterior",
    "laplace_efficiency": "Effective sample fraction of the Laplace approximation; 1 is best",
    "rhat": "Largest rank-normalised split R-hat of all parameters",
    "ess": "Smallest bulk effective sample size of all parameters",
    "n_spectra": "Number of spectra fitted together",
}


@dataclass(frozen=True, eq=False)
class FitResult:
    """The result of :func:`harpsstar.fit`.

    Attributes
    ----------
    solution : Solution
        The posterior itself, and everything behind it.
    spectra : tuple of Spectrum or SpectrumCollection
        As observed.
    files : tuple of str
        Empty where the spectrum did not come from a file.
    starts : tuple of Measurement
        What ``predict`` said.
    model : str
        Which model it used.
    meta : dict
        Of the table.
    """

    solution: Solution
    spectra: tuple[Spectrum | SpectrumCollection, ...]
    files: tuple[str, ...]
    starts: tuple[Measurement, ...]
    model: str
    meta: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One row for each spectrum; those of one star share everything but rv and chi2."""
        return tuple(self._row(i) for i in range(len(self.spectra)))

    @cached_property
    def extras(self) -> tuple[dict[str, Any], ...]:
        """What the table has besides the columns of ``predict``, for each spectrum."""
        return tuple(self._extra(i) for i in range(len(self.spectra)))

    @property
    def table(self) -> QTable:
        """The columns of ``harpsstar.predict`` and those of a fit: docs/reference/fit.md."""
        return fit_table(list(zip(self.rows, self.extras, strict=True)), self._nuisances,
                         self.meta or provenance("harpsstar.fit"))  # fmt: skip

    def __repr__(self) -> str:
        """One line: the star and its labels."""
        row = self.rows[0]
        values = ", ".join(
            f"{label.name} {getattr(row, label.name):.4g} ± {getattr(row, f'{label.name}_err'):.2g}"
            + (f" {label.unit}" if label.unit else "") for label in LABELS)  # fmt: skip
        spectra = "1 spectrum" if len(self.spectra) == 1 else f"{len(self.spectra)} spectra"
        return f"<FitResult of {spectra} of {row.target or 'a star'}: {values}; {row.status}>"

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        return f"<p>{html.escape(repr(self))}</p>{self.table._repr_html_()}"

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Median and standard deviation (noise alone) of a parameter by name."""
        draws = Draws(self.solution.everything[name][:, None], self.solution.draws.weight)
        median, covariance = summary(draws)
        return float(median[0]), math.sqrt(float(covariance[0, 0]))

    def interval(self, name: str, share: float = ONE_SIGMA) -> tuple[float, float]:
        """Central interval of a parameter that holds this share of its posterior."""
        draws = Draws(self.solution.everything[name][:, None], self.solution.draws.weight)
        tail = 0.5 * (1 - share)
        return float(quantile(draws, tail)[0]), float(quantile(draws, 1 - tail)[0])

    @cached_property
    def samples(self) -> Any:
        """Draws from the posterior as ArviZ ``InferenceData``, (chain, draw) of each parameter.

        Raises
        ------
        InputsMissingError
            ArviZ is not installed.
        """
        from harpsstar.infer.fit.export import inference_data

        return inference_data(load_arviz(), self.solution, self.files)

    def save_samples(self, path: str | Path) -> Path:
        """Write :attr:`samples` to a NetCDF file, and return its path."""
        path = Path(path)
        with replacing(path, SAMPLES) as temporary:
            self.samples.to_netcdf(str(temporary))
        return path

    @property
    def model_spectrum(self) -> SpectrumCollection | list[SpectrumCollection]:
        """The best model, continuum included, at the fitted pixels; a list for several spectra."""
        from harpsstar.infer.fit.export import model_spectrum

        found = [model_spectrum(self.solution, i, s) for i, s in enumerate(self.spectra)]
        return found[0] if len(found) == 1 else found

    def plot(self, index: int = 0) -> Figure:
        """Draw observed and fitted spectrum and their difference, order by order."""
        from harpsstar.infer.fit.plots import plot_spectrum

        return plot_spectrum(self.solution, index, self._title(index))

    def corner(self) -> Figure:
        """Draw the posterior of every pair of free parameters."""
        from harpsstar.infer.fit.plots import plot_corner

        return plot_corner(self.solution, self._title(0))

    def _title(self, index: int) -> str:
        seen = self._seen(index)
        return seen.target or Path(self.files[index] or seen.file).name

    def _seen(self, index: int) -> Observation:
        return observation_of(self.spectra[index])

    def _row(self, index: int) -> Row:
        seen, start = self._seen(index), self.starts[index]
        median, posterior = self.solution.moments
        values: dict[str, Any] = dict(zip(NAMES, median.tolist(), strict=True))
        values |= self.solution.uncertainty.columns()
        suffix = "" if len(self.spectra) == 1 else f"_{index + 1}"
        rv, rv_err, unknown = seen.barycentric(*self[f"rv{suffix}"])
        flags = self._flags(index, median, np.sqrt(np.diag(posterior)))
        serious = bool(flags & quality.SERIOUS) or not self.solution.converged
        return Row(
            file=self.files[index] or seen.file, target=seen.target, instrument=seen.instrument,
            product=seen.product, bjd=seen.bjd, snr=float(start.snr), rv=rv, rv_err=rv_err,
            chi2_red=float(self._chi2(index)[0]), flags=int(flags),
            flag_text=quality.text(flags), status="flagged" if serious else "ok",
            message="; ".join((*self._remarks(), *unknown, *seen.notes)),
            model=f"fit from {self.model}",
            **values,
        )  # fmt: skip

    def _remarks(self) -> tuple[str, ...]:
        solution, remarks = self.solution, []
        if not solution.optimum.converged:
            remarks.append("the optimiser has not converged")
        if solution.chains is not None and not solution.chains.converged:
            remarks.append("the sampler has not converged")
        if solution.optimum.at_edge:
            remarks.append(f"at a limit of grid or prior: {', '.join(solution.optimum.at_edge)}")
        remarks += solution.contradictions
        unmeasured = [name for name in self._nuisances if self._is_prior(name)]
        if unmeasured:
            remarks.append(f"the spectrum does not constrain {', '.join(unmeasured)}")
        if solution.chains is None and solution.efficiency < ADEQUATE:
            found = f"efficiency {solution.efficiency:.2f}"
            remarks.append(f"the posterior is not Gaussian ({found}): use a sampler")
        return tuple(remarks)

    def _flags(self, index: int, labels: FloatArray, sigma: FloatArray) -> quality.Flag:
        start, data = self.starts[index], self.solution.data[index]
        grid = self.solution.posterior.space
        teff = torch.tensor([labels[0]], dtype=torch.float32)
        shares = np.zeros(len(canonical_wavelengths()))
        for row, used in zip(self._order_of(index), data.used, strict=True):
            shares[row] = max(shares[row], float(used.double().mean()))
        evidence = replace(
            start.evidence, labels=labels, sigma=sigma, misfit=self._misfit(index),
            lowest_logg=float(grid.lowest_logg(teff)[0]), order_share=shares,
            held=bool(self.solution.optimum.at_edge), unlike=not self._alike,
            contradicted=bool(self.solution.contradictions),
        )  # fmt: skip
        return quality.assess(evidence)

    @cached_property
    def _alike(self) -> bool:
        """Whether the spectra can be of one star, by what ``predict`` says of each."""
        values = [start.estimate.labels[0].double().numpy() for start in self.starts]
        noise = [Uncertainty.of(start.estimate).noise for start in self.starts]
        return are_alike(np.stack(values), np.stack(noise))

    @property
    def _nuisances(self) -> tuple[str, ...]:
        """Nuisances that the spectra of the grid depend on."""
        return self.solution.posterior.space.nuisances

    def _is_prior(self, name: str) -> bool:
        """Whether the posterior of a free nuisance is no narrower than its prior."""
        space = self.solution.posterior.space
        width = space.width(name) if name in space.stellar else None
        # A narrow prior that was given is what the user wants to see.
        if width is None or isinstance(space.options.priors.get(name), Gaussian):
            return False
        return self[name][1] > PRIOR_ALONE * width

    def _order_of(self, index: int) -> npt.NDArray[np.int_]:
        """Canonical order (O,) nearest to each row."""
        rest = self.solution.data[index].rest
        canonical = canonical_wavelengths()
        centres = canonical[:, canonical.shape[1] // 2]
        middle = rest[:, rest.shape[1] // 2]
        return np.abs(middle[:, None] - centres).argmin(axis=1)

    def _residual(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Flux minus model, its inverse variance from noise alone, and the continuum, (O, N)."""
        data, part = self.solution.data[index], self.solution.posterior.parts[index]
        spectrum, continuum = self.solution.models[index]
        ivar = torch.where(part.weight > 0, data.ivar, torch.zeros(()))
        return data.flux - spectrum * continuum, ivar, continuum

    def _chi2(self, index: int) -> tuple[float, FloatArray]:
        """Reduced chi-squared against noise alone: of the spectrum, and of each order (8,)."""
        residual, ivar, _ = self._residual(index)
        chi2 = (residual.square() * ivar).sum(1).double().numpy()
        count = (ivar > 0).sum(1).double().numpy()
        order = self._order_of(index)
        n = len(canonical_wavelengths())
        total, number = np.bincount(order, chi2, n), np.bincount(order, count, n)
        with np.errstate(invalid="ignore"):
            return float(chi2.sum() / max(count.sum(), 1.0)), total / np.where(
                number > 0, number, np.nan
            )

    def _misfit(self, index: int) -> float:
        """Robust scatter about the model beyond the noise, in units of the continuum."""
        residual, ivar, continuum = (x[None] for x in self._residual(index))
        rest = residual / continuum
        return float(goodness(rest, torch.zeros_like(rest), ivar * continuum.square())[1])

    def _extra(self, index: int) -> dict[str, Any]:
        solution, noise = self.solution, self.solution.noises[index]
        values: dict[str, Any] = {}
        for name in self._nuisances:
            found = (math.nan, math.nan) if self._is_prior(name) else self[name]
            values[name], values[f"{name}_err"] = found
        chains = solution.chains
        return values | {
            "jitter": noise.jitter,
            "misfit": noise.misfit,
            "n_outliers": int(noise.outlier.sum()),
            "chi2_red_orders": self._chi2(index)[1],
            "converged": solution.converged,
            "at_edge": ",".join(solution.optimum.at_edge),
            "n_starts": solution.n_starts,
            "method": solution.posterior.space.options.sampler,
            "laplace_efficiency": solution.efficiency,
            "rhat": math.nan if chains is None else float(chains.rhat.max()),
            "ess": math.nan if chains is None else float(chains.ess.min()),
            "n_spectra": len(self.spectra),
        }


def _blank(nuisances: Sequence[str]) -> dict[str, Any]:
    """Extra columns of an input that failed."""
    numbers = {name: math.nan for label in nuisances for name in (label, f"{label}_err")}
    return numbers | {
        "jitter": math.nan, "misfit": math.nan, "n_outliers": 0,
        "chi2_red_orders": np.full(len(canonical_wavelengths()), np.nan), "converged": False,
        "at_edge": "", "n_starts": 0, "method": "", "laplace_efficiency": math.nan,
        "rhat": math.nan, "ess": math.nan, "n_spectra": 0,
    }  # fmt: skip


def fit_table(
    results: list[tuple[Row, dict[str, Any] | None]],
    nuisances: Sequence[str],
    meta: Mapping[str, Any] | None = None,
) -> QTable:
    """Return rows and what a fit adds to them as one table.

    Parameters
    ----------
    results : list of (Row, dict or None)
        None for an input that failed.
    nuisances : sequence of str
        Those that have a column.
    meta : mapping, optional
        Of the table.
    """
    from astropy import units as u

    table = to_table([row for row, _ in results], meta)
    blank = _blank(nuisances)
    extras = [extra or blank for _, extra in results]
    for name in blank:
        values = np.array([extra[name] for extra in extras])
        label = PARAMETERS.get(name.removesuffix("_err"))
        unit = label.unit if label else ""
        table[name] = values << u.Unit(unit) if unit else values
        text = _EXTRA_TEXT[name] if label is None else label.description
        if name.endswith("_err"):
            text = f"1-sigma uncertainty of {name.removesuffix('_err')} from noise alone"
        table[name].info.description = text
    return table
