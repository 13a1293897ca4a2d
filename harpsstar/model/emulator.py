"""The emulator: the spectrum of any star of the grid, at any wavelength, with its gradients.

One emulator serves training, velocities, fits, mock observations and the bound.
"""

from __future__ import annotations

import copy
import hashlib
import math
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harpsstar.errors import ModelError
from harpsstar.model import broadening
from harpsstar.model.nodes import AXES, NodeGrid, lagrange_weights

#: What the metadata of a grid file calls its layout.
GRID_FORMAT = "harpsstar-grid-3"
#: Older layouts that can still be read: coefficients in floating point.
OLD_GRID_FORMATS = ("harpsstar-grid-2", "harpsstar-grid-1")
#: The arrays of a grid file.
GRID_TENSORS = ("nodes", "mean", "components", "coefficients")
#: The last components, rounded to eight bits: counts and their unit.
ROUGH_TENSORS = ("components8", "scale8")
#: Coefficients as multiples of one step; in an older layout those of the last components.
COUNT_TENSORS = ("step", "counts32", "counts16", "counts8")
OLD_TENSORS = ("coefficients8",)
#: The grid that comes with the package.
PACKAGED_GRID = Path(__file__).parents[1] / "data" / "grid.safetensors"

#: A velocity or microturbulence: one for all spectra, or one for each.
PerSpectrum: TypeAlias = float | Tensor

# Room for a shift of 300 km/s and the widest profile before one end of the spectrum reaches the
# other through the periodicity of the Fourier transform.
_PADDING_KMS = 384.0
# Transform lengths are multiples of this: fast, and divisible as the kernels need.
_LENGTH_UNIT = 512
# Rows that kernels of matrix products take at once, or a multiple of it.
_BLOCK = 8
# Six points: seven times closer than four, for a cost that does not show.
_STENCIL = 6


def in_blocks(rows: Tensor) -> Tensor:
    """Repeat the last row until the rows fill whole blocks of a matrix product.

    The rows left over by the blocks are summed in another order, so that a spectrum would depend,
    in its last bits, on what it is computed with.
    """
    missing = -len(rows) % _BLOCK
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


class _Banded(torch.autograd.Function):
    """A product with a fixed sparse matrix: rows of ``x`` in, rows of ``x @ matrix.T`` out."""

    @staticmethod
    def forward(x: Tensor, matrix: _Sparse, adjoint: _Sparse) -> Tensor:
        return matrix.apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Sparse, _Sparse], output: Tensor) -> None:
        _, *ctx.pair = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        matrix, adjoint = ctx.pair
        return _Banded.apply(grad, adjoint, matrix), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return cast(Tensor, _Banded.apply(tangent, *ctx.pair))

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], x: Tensor, matrix: _Sparse, adjoint: _Sparse
    ) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 0)
        out = cast(Tensor, _Banded.apply(x.flatten(0, 1), matrix, adjoint))
        return out.unflatten(0, x.shape[:2]), 0


class _Sparse:
    """A sparse matrix in compressed rows, kept for products only."""

    def __init__(self, rows: Tensor, columns: Tensor, weights: Tensor, n_rows: int) -> None:
        order = torch.argsort(rows, stable=True)
        self.columns, self.weights = columns[order], weights[order]
        count = torch.bincount(rows, minlength=n_rows)
        self.offsets = torch.cumsum(count, 0) - count

    def apply(self, x: Tensor) -> Tensor:
        """Rows (B, n) in, rows (B, n_rows) out."""
        # Of all sparse products in torch this one is the fastest on a CPU, and out of beta.
        return nn.functional.embedding_bag(
            self.columns.to(x.device),
            x.T.contiguous(),
            self.offsets.to(x.device),
            per_sample_weights=self.weights.to(x),
            mode="sum",
        ).T.contiguous()


class Sampler:
    """Interpolation from an emulator's own grid to fixed wavelengths, to be used many times.

    Six-point Lagrange interpolation, differentiable in reverse and in forward mode. Its error is at
    most 1e-4 of the continuum for a star without rotation and macroturbulence at R = 115,000.

    Parameters
    ----------
    wave : array_like
        Wavelengths, Å in air, any shape and order.
    log_wave0, log_step : float
        First point and step of the grid, natural logarithm of Å.
    n_wave : int
        Points of the grid.
    """

    def __init__(
        self, wave: npt.ArrayLike | Tensor, *, log_wave0: float, log_step: float, n_wave: int
    ) -> None:
        self.wave = np.asarray(wave, dtype=np.float64)
        self.shape = self.wave.shape
        self.limits = (math.exp(log_wave0), math.exp(log_wave0 + log_step * (n_wave - 1)))
        with np.errstate(invalid="ignore", divide="ignore"):
            position = (np.log(self.wave.ravel()) - log_wave0) / log_step
            covered = (position >= -1e-6) & (position <= n_wave - 1 + 1e-6)
        #: Which wavelengths lie on the grid: flat, bool.
        self.covered = torch.from_numpy(covered)
        place = torch.from_numpy(np.where(covered, position, 0.0))
        first = (place.floor().long() - (_STENCIL // 2 - 1)).clamp(0, n_wave - _STENCIL)
        offset = torch.arange(_STENCIL)
        weights = lagrange_weights(offset.double().expand(len(place), -1), place - first)
        columns = (first[:, None] + offset).flatten()
        rows = torch.arange(len(place)).repeat_interleave(_STENCIL)
        self._matrix = _Sparse(rows, columns, weights.flatten(), len(place))
        self._adjoint = _Sparse(columns, rows, weights.flatten(), n_wave)

    def __call__(self, flux: Tensor) -> Tensor:
        """Sample spectra.

        Parameters
        ----------
        flux : Tensor, shape (B, n_wave)
            On the emulator's own grid.

        Returns
        -------
        Tensor, shape (B, *wave.shape)
            nan at wavelengths outside the grid.
        """
        sampled = self.without_gaps(flux)
        if not bool(self.covered.all()):
            sampled = sampled.masked_fill(~self.covered.to(flux.device), math.nan)
        return sampled.unflatten(1, self.shape) if self.shape else sampled[:, 0]

    def without_gaps(self, flux: Tensor) -> Tensor:
        """Sample to (B, number of wavelengths), with arbitrary values outside the grid."""
        return cast(Tensor, _Banded.apply(flux, self._matrix, self._adjoint))


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
        _check_shapes(nodes, mean, components, coefficients)
        self.log_wave0, self.log_step = float(log_wave0), float(log_step)
        self.n_wave = len(mean)
        self.metadata = dict(metadata or {})
        nodes = nn.functional.pad(nodes.float(), (0, len(AXES) - nodes.shape[1]))
        self.grid = NodeGrid(nodes, coefficients.float(), interpolation=interpolation)
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("components", components.float(), persistent=False)
        padding = math.ceil(_PADDING_KMS / self.velocity_step)
        self._n_fft = -(-(self.n_wave + padding) // _LENGTH_UNIT) * _LENGTH_UNIT
        self._transforms: tuple[Tensor, Tensor] | None = None

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
        tensors, metadata = _read_grid(path)
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
        size = len(labels)
        vsini, vmac = labels[:, 3], self._column(vmac, size)
        depth = self._transformed_depth(self.coefficients(labels, vmic, alpha))
        n_bins = depth.shape[1]
        dk = 2 * math.pi / (self._n_fft * self.velocity_step)
        real = broadening.kernel(n_bins, dk, vsini, vmac, resolution, depth.real.dtype)
        if isinstance(rv, Tensor) or rv != 0.0:
            shift = broadening.log_shift(self._column(rv, size).double()) / self.log_step
            depth = depth * broadening.phase(n_bins, shift / self._n_fft, depth.dtype)
        depth = torch.view_as_complex(torch.view_as_real(depth) * real[..., None])
        return 1 - torch.fft.irfft(depth, n=self._n_fft)[:, : self.n_wave]

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
        flux = sampler(
            self(
                labels, vmic=vmic, vmac=vmac, alpha=alpha, resolution=resolution, rv=rv, check=check
            )
        )
        if not isinstance(rv, Tensor) and rv == 0.0:
            return flux
        return flux.masked_fill(self._unreached(sampler, self._column(rv, len(labels))), math.nan)

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

    def _transformed_depth(self, coefficients: Tensor) -> Tensor:
        """Fourier transform of one minus the flux, (B, n_fft/2 + 1), padded with continuum."""
        if self._transforms is None:
            parts = (1 - self._mean, -cast(Tensor, self.components))
            # Transforming the components once saves one transform per spectrum.
            mean, components = (
                torch.view_as_real(torch.fft.rfft(part, n=self._n_fft)).flatten(-2)
                for part in parts
            )
            self._transforms = (mean, components)
        mean, components = self._transforms
        depth = torch.addmm(mean, in_blocks(coefficients), components)[: len(coefficients)]
        return torch.view_as_complex(depth.unflatten(1, (-1, 2)))

    def _apply(self, fn: Any, recurse: bool = True) -> Emulator:
        # Called by .to() and .double(): the cached transforms follow the buffers.
        self._transforms = None
        return cast(Emulator, super()._apply(fn, recurse))


def _check_shapes(nodes: Tensor, mean: Tensor, components: Tensor, coefficients: Tensor) -> None:
    (n, k), n_wave = coefficients.shape, len(mean)
    if nodes.shape not in ((n, 4), (n, len(AXES))) or tuple(components.shape) != (k, n_wave):
        raise ModelError(
            f"nodes {tuple(nodes.shape)}, mean {tuple(mean.shape)}, components "
            f"{tuple(components.shape)} and coefficients {tuple(coefficients.shape)} do not fit",
            expected="(N, 4 or 5), (n_wave,), (K, n_wave) and (N, K)",
        )


def _read_grid(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ModelError("no such grid", path=path, hint="compute one with `harpsstar synth grid`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            known = set(file.keys())
            wanted = known.intersection(
                GRID_TENSORS + ROUGH_TENSORS + COUNT_TENSORS + OLD_TENSORS
            )
            tensors = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"not a readable grid ({error})", path=path, expected="a safetensors file"
        ) from error
    if metadata.get("format") not in (GRID_FORMAT, *OLD_GRID_FORMATS):
        raise ModelError(
            f"grid format {metadata.get('format')!r}", path=path, expected=repr(GRID_FORMAT)
        )
    return _joined(tensors), metadata


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the components and the coefficients of all precisions into one array each."""
    joined = dict(tensors)
    if all(name in joined for name in ROUGH_TENSORS):
        counts, unit = (joined.pop(name) for name in ROUGH_TENSORS)
        rough = counts.float() * unit[:, None]
        joined["components"] = torch.cat([joined["components"].float(), rough])
    if all(name in joined for name in COUNT_TENSORS):
        step, *groups = (joined.pop(name) for name in COUNT_TENSORS)
        joined["coefficients"] = torch.cat([group.float() for group in groups], dim=1) * step
    for name in OLD_TENSORS:
        if name in joined:
            both = [joined["coefficients"], joined.pop(name).float()]
            joined["coefficients"] = torch.cat(both, dim=1)
    return joined
