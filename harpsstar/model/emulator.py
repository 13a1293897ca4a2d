"""The emulator: the spectrum of any star of the grid, at any wavelength, with its gradients.

One emulator serves training, velocities, fits, mock observations and the bound.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy.typing as npt
import torch
from torch import Tensor, nn

from harpsstar.errors import ModelError
from harpsstar.model import broadening
from harpsstar.model.derivatives import PARAMETERS, Stars, differentiate
from harpsstar.model.fourier import Transforms
from harpsstar.model.grid_file import GRID_FORMAT, PACKAGED_GRID, check_shapes, read_grid
from harpsstar.model.nodes import AXES, NodeGrid
from harpsstar.model.sampler import Sampler

#: A velocity or microturbulence: one for all spectra, or one for each.
PerSpectrum: TypeAlias = float | Tensor


class Emulator(nn.Module):
    """Continuum-normalised spectra between the nodes of a compressed grid.

    The grid holds unbroadened spectra as ``mean + coefficients @ components``. Coefficients are
    interpolated between nodes (:class:`~harpsstar.model.nodes.NodeGrid`); rotation,
    macroturbulence, the line-spread function and the radial velocity are then products in Fourier
    space (:mod:`~harpsstar.model.broadening`). Everything is differentiable, in reverse and in
    forward mode, with respect to every label, ``vmic``, ``vmac``, ``alpha`` and ``rv``. Computes in
    the precision of its buffers: single, or double after ``.double()``.

    Parameters
    ----------
    nodes : Tensor, shape (N, 4 or 5)
        ``teff`` K, ``logg``, ``m_h``, ``vmic`` km/s and ``alpha``, 0 where it is left out.
    mean : Tensor, shape (n_wave,)
        Flux over continuum.
    components : Tensor, shape (K, n_wave)
        Principal components.
    coefficients : Tensor, shape (N, K)
        Their coefficients at the nodes.
    log_wave0, log_step : float
        First point and step of the wavelength grid, natural logarithm of Å in air.
    interpolation : {"cubic", "linear"}
        ``"linear"`` is what the published HARPS-N networks did; it is off by 34 K and 0.06 dex half
        way between metallicities and is kept for comparison with them only.
    metadata : dict of str, optional
        Where the grid comes from.

    Raises
    ------
    ModelError
        If the grid has holes or its arrays do not fit together.
    ValueError
        If ``interpolation`` is unknown.
    """

    def __init__(
        self,
        nodes: Tensor,
        mean: Tensor,
        components: Tensor,
        coefficients: Tensor,
        *,
        log_wave0: float,
        log_step: float,
        interpolation: str = "cubic",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        check_shapes(nodes, mean, components, coefficients)
        self.log_wave0, self.log_step = float(log_wave0), float(log_step)
        self.n_wave = len(mean)
        self.metadata = dict(metadata or {})
        nodes = nn.functional.pad(nodes.float(), (0, len(AXES) - nodes.shape[1]))
        self.grid = NodeGrid(nodes, coefficients.float(), interpolation=interpolation)
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("components", components.float(), persistent=False)
        self._known_transforms: Transforms | None = None

    @classmethod
    def load(cls, path: str | Path | None = None, *, interpolation: str = "cubic") -> Emulator:
        """Read a compressed grid.

        Parameters
        ----------
        path : str or Path, optional
            A file written by ``harpsstar synth grid``; by default the one in the package.
        interpolation : {"cubic", "linear"}
            See :class:`Emulator`.

        Returns
        -------
        Emulator

        Raises
        ------
        ModelError
            If the file is missing, is not a grid of this format, or has holes.
        """
        path = PACKAGED_GRID if path is None else Path(path)
        tensors, metadata = read_grid(path)
        try:
            return cls(
                **tensors,
                log_wave0=float(metadata["log_wave0"]),
                log_step=float(metadata["log_step"]),
                interpolation=interpolation,
                metadata=metadata | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
            )
        except ModelError as error:
            raise ModelError(
                error.found, expected=error.expected, hint=error.hint, path=path
            ) from error
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"incomplete grid ({error})", expected=f"a {GRID_FORMAT} file", path=path
            ) from error

    @property
    def log_wave(self) -> Tensor:
        """Natural logarithm of the wavelengths, shape (n_wave,), double precision."""
        steps = torch.arange(self.n_wave, dtype=torch.float64, device=self._mean.device)
        return self.log_wave0 + self.log_step * steps

    @property
    def wave(self) -> Tensor:
        """Wavelengths of the emulator's own grid, Å in air, shape (n_wave,), double precision."""
        return torch.exp(self.log_wave)

    @property
    def velocity_step(self) -> float:
        """Step of the grid, km/s."""
        return self.log_step * broadening.C_KMS

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._mean.device

    def on(self, device: torch.device) -> Emulator:
        """Return this emulator where it computes on `device` already, and a copy there if not."""
        return self if device == self.device else copy.deepcopy(self).to(device)

    @property
    def interpolation(self) -> str:
        """How coefficients are interpolated: ``"cubic"`` or ``"linear"``."""
        return self.grid.interpolation

    def contains(
        self, teff: Tensor, logg: Tensor, m_h: Tensor, vmic: Tensor, alpha: Tensor | None = None
    ) -> Tensor:
        """Tell which stars lie between existing nodes.

        Parameters
        ----------
        teff, logg, m_h, vmic : Tensor, shape (B,)
            K, log10 of cm/s2, dex, km/s.
        alpha : Tensor of shape (B,), optional
            [alpha/Fe], dex; 0 by default.

        Returns
        -------
        Tensor of bool, shape (B,)
        """
        return self.grid.contains(teff, logg, m_h, vmic, alpha)

    def check(self, labels: Tensor, vmic: PerSpectrum, alpha: PerSpectrum = 0.0) -> None:
        """Refuse stars outside the existing nodes.

        Below the lowest gravity of the grid at a temperature, linear between temperatures, there
        are no atmospheres to interpolate.

        Parameters
        ----------
        labels : Tensor, shape (B, 3 or more)
            ``teff`` K, ``logg``, ``m_h``, ….
        vmic, alpha : float or Tensor of shape (B,)
            Microturbulence, km/s, and [alpha/Fe], dex.

        Raises
        ------
        OutsideGridError
            Naming the first star outside and the range allowed for each of its labels.
        """
        self.grid.check(self._points(labels.detach(), vmic, alpha).detach())

    def coefficients(self, labels: Tensor, vmic: PerSpectrum, alpha: PerSpectrum = 0.0) -> Tensor:
        """Coefficients of the principal components.

        Parameters
        ----------
        labels : Tensor, shape (B, 3 or more)
            ``teff`` K, ``logg``, ``m_h``, ….
        vmic, alpha : float or Tensor of shape (B,)
            Microturbulence, km/s, and [alpha/Fe], dex.

        Returns
        -------
        Tensor, shape (B, K)
        """
        return self.grid(self._points(labels, vmic, alpha))

    def intrinsic(self, labels: Tensor, vmic: PerSpectrum, alpha: PerSpectrum = 0.0) -> Tensor:
        """Spectra without any broadening or shift.

        Parameters
        ----------
        labels : Tensor, shape (B, 3 or more)
            ``teff`` K, ``logg``, ``m_h``, ….
        vmic, alpha : float or Tensor of shape (B,)
            Microturbulence, km/s, and [alpha/Fe], dex.

        Returns
        -------
        Tensor, shape (B, n_wave)
            ``mean + coefficients @ components``.
        """
        components = cast(Tensor, self.components)
        return torch.addmm(self._mean, self.coefficients(labels, vmic, alpha), components)

    def forward(
        self,
        labels: Tensor,
        *,
        vmic: PerSpectrum,
        vmac: PerSpectrum = 0.0,
        alpha: PerSpectrum = 0.0,
        resolution: float | Tensor = 115000.0,
        rv: PerSpectrum = 0.0,
        check: bool = True,
    ) -> Tensor:
        """Spectra as a spectrograph sees them, on the emulator's own grid.

        Parameters
        ----------
        labels : Tensor, shape (B, 4)
            ``teff`` K, ``logg``, ``m_h``, ``vsini`` km/s.
        vmic, vmac, rv : float or Tensor of shape (B,)
            Microturbulence, radial-tangential macroturbulence and radial velocity, km/s.
        alpha : float or Tensor of shape (B,)
            [alpha/Fe] of O, Ne, Mg, Si, S, Ca and Ti, dex; ``m_h`` is that of the others.
        resolution : float or Tensor of shape (B,)
            Resolving power.
        check : bool
            Refuse labels outside the grid; otherwise the outermost polynomials go on.

        Returns
        -------
        Tensor, shape (B, n_wave)
            Flux over continuum. Pixels that the shift moves in from beyond the grid are
            continuum, and those within a line profile of its ends a mixture with it.

        Raises
        ------
        OutsideGridError
            If ``check`` and a star lies outside the grid.
        """
        if check:
            self.check(labels, vmic, alpha)
        coefficients = self.coefficients(labels, vmic, alpha)
        shift = self._column(rv, len(labels)) if isinstance(rv, Tensor) or rv != 0.0 else None
        vmac = self._column(vmac, len(labels))
        return self._transforms.spectra(coefficients, labels[:, 3], vmac, resolution, shift)

    def sampler(self, wave: npt.ArrayLike | Tensor) -> Sampler:
        """Prepare interpolation to fixed wavelengths (Å in air, any shape): see :class:`Sampler`.

        Built once and passed to :meth:`at` as its ``wave``, it saves the search for neighbours.
        """
        return Sampler(wave, log_wave0=self.log_wave0, log_step=self.log_step, n_wave=self.n_wave)

    def at(
        self,
        wave: npt.ArrayLike | Tensor | Sampler,
        labels: Tensor,
        *,
        vmic: PerSpectrum,
        vmac: PerSpectrum = 0.0,
        alpha: PerSpectrum = 0.0,
        resolution: float | Tensor = 115000.0,
        rv: PerSpectrum = 0.0,
        check: bool = True,
    ) -> Tensor:
        """Spectra as a spectrograph sees them, at any wavelengths.

        Parameters
        ----------
        wave : array_like, Tensor or Sampler
            Wavelengths as observed, Å in air, any shape; or what :meth:`sampler` made of them.
        labels, vmic, vmac, alpha, resolution, rv, check
            As in :meth:`forward`.

        Returns
        -------
        Tensor, shape (B, *wave.shape)
            Flux over continuum; nan where the grid does not reach, at the observed wavelength or
            at that divided by 1 + rv/c.

        Raises
        ------
        OutsideGridError
            If ``check`` and a star lies outside the grid.
        """
        sampler = wave if isinstance(wave, Sampler) else self.sampler(wave)
        options: Any = {"vmic": vmic, "vmac": vmac, "alpha": alpha, "rv": rv}
        flux = sampler(self(labels, **options, resolution=resolution, check=check))
        if not isinstance(rv, Tensor) and rv == 0.0:
            return flux
        return flux.masked_fill(self._unreached(sampler, self._column(rv, len(labels))), math.nan)

    def derivatives(
        self,
        wave: npt.ArrayLike | Tensor | Sampler,
        labels: Tensor,
        *,
        vmic: PerSpectrum,
        vmac: PerSpectrum = 0.0,
        alpha: PerSpectrum = 0.0,
        resolution: float | Tensor = 115000.0,
        rv: PerSpectrum = 0.0,
        by: Sequence[str] = PARAMETERS,
        squares: bool = False,
        smooth: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Spectra at any wavelengths and their exact derivatives.

        Parameters
        ----------
        wave : array_like, Tensor or Sampler
            As in :meth:`at`.
        labels, vmic, vmac, alpha, resolution, rv
            As in :meth:`forward`; stars outside the grid are not refused.
        by : sequence of str
            Quantities to differentiate by, of :data:`PARAMETERS`.
        squares : bool
            Differentiate by the squares of vsini and vmac, which does not give 0 at zero.
        smooth : bool
            As in :meth:`harpsstar.model.nodes.NodeGrid.derivatives`.

        Returns
        -------
        flux : Tensor, shape (B, *wave.shape)
            Finite, but without meaning, outside the grid, see ``Sampler.covered``.
        slopes : Tensor, shape (B, number of ``by``, *wave.shape)
            Per K, dex, km/s or km²/s²; zero for what has a single value in the grid. At a node,
            where the interpolation has a kink, that on one side unless ``smooth``.

        Raises
        ------
        ValueError
            If ``by`` names others.
        """
        sampler = wave if isinstance(wave, Sampler) else self.sampler(wave)
        power = torch.as_tensor(resolution, dtype=torch.float64, device=self.device)
        vmac, rv = (self._column(value, len(labels)) for value in (vmac, rv))
        points = self._points(labels, vmic, alpha)
        stars = Stars(points, labels[:, 3], vmac, power.expand(len(labels)), rv)
        return differentiate(
            self.grid, self._transforms, sampler, stars, tuple(by), squares=squares, smooth=smooth
        )

    def _unreached(self, sampler: Sampler, rv: Tensor) -> Tensor:
        low, high = sampler.limits
        factor = 1 + rv.detach().double() / broadening.C_KMS
        factor = factor.reshape(-1, *(1,) * len(sampler.shape))
        wave = torch.from_numpy(sampler.wave).to(rv.device)
        return (wave < low * factor) | (wave > high * factor)

    @property
    def _mean(self) -> Tensor:
        return cast(Tensor, self.mean)

    def _column(self, value: PerSpectrum, size: int) -> Tensor:
        return torch.as_tensor(value, dtype=self._mean.dtype, device=self._mean.device).expand(size)

    def _points(self, labels: Tensor, vmic: PerSpectrum, alpha: PerSpectrum) -> Tensor:
        columns = [self._column(value, len(labels))[:, None] for value in (vmic, alpha)]
        return torch.cat([labels[:, :3].to(self._mean), *columns], dim=1)

    @property
    def _transforms(self) -> Transforms:
        if self._known_transforms is None:
            components = cast(Tensor, self.components)
            self._known_transforms = Transforms(self._mean, components, self.log_step)
        return self._known_transforms

    def _apply(self, fn: Any, recurse: bool = True) -> Emulator:
        # Called by .to() and .double(): the cached transforms follow the buffers.
        self._known_transforms = None
        return cast(Emulator, super()._apply(fn, recurse))
