"""Spectra from their principal components: broadened, shifted and differentiated in Fourier space.

A spectrum is a mean and a sum of components; so are its derivatives with respect to what the
coefficients depend on. Rotation, macroturbulence, line spread and velocity multiply the transform,
and so do their derivatives. A spectrum and all its derivatives therefore take one product with the
transformed components, one kernel, and one inverse transform each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harpsstar.model import broadening

# Room for a shift of 300 km/s and the widest profile before one end of the spectrum reaches the
# other through the periodicity of the Fourier transform.
_PADDING_KMS = 384.0
# Transform lengths are multiples of this: fast, and divisible as the kernels need.
_LENGTH_UNIT = 512
# Rows that kernels of matrix products take at once, or a multiple of it.
_BLOCK = 8

#: What the kernel and the shift depend on, in the order of their derivatives.
VELOCITIES = ("vsini", "vmac", "rv")


def in_blocks(rows: Tensor) -> Tensor:
    """Repeat the last row until the rows fill whole blocks of a matrix product.

    The rows left over by the blocks are summed in another order, so that a spectrum would depend,
    in its last bits, on what it is computed with.
    """
    missing = -len(rows) % _BLOCK
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


class Transforms:
    """Principal components of spectra, transformed once.

    Parameters
    ----------
    mean : Tensor, shape (n_wave,)
        Flux over continuum.
    components : Tensor, shape (K, n_wave)
    log_step : float
        Step of the wavelength grid, natural logarithm of Å.
    """

    def __init__(self, mean: Tensor, components: Tensor, log_step: float) -> None:
        self.n_wave = len(mean)
        self._log_step = log_step
        velocity_step = log_step * broadening.C_KMS
        padding = math.ceil(_PADDING_KMS / velocity_step)
        self._n_fft = -(-(self.n_wave + padding) // _LENGTH_UNIT) * _LENGTH_UNIT
        #: Distance of two bins, radians per km/s.
        self._dk = 2 * math.pi / (self._n_fft * velocity_step)
        self._n_bins = self._n_fft // 2 + 1
        # Of one minus the flux, because the padding is continuum. Transforming the components once
        # saves one transform per spectrum.
        self._mean, self._components = (
            torch.view_as_real(torch.fft.rfft(part, n=self._n_fft)).flatten(-2)
            for part in (1 - mean, -components)
        )

    def spectra(
        self,
        coefficients: Tensor,
        vsini: Tensor,
        vmac: Tensor,
        resolution: float | Tensor,
        rv: Tensor | None = None,
    ) -> Tensor:
        """Broadened and shifted spectra; differentiable.

        Parameters
        ----------
        coefficients : Tensor, shape (B, K)
        vsini, vmac : Tensor, shape (B,)
            km/s.
        resolution : float or Tensor of shape (B,)
        rv : Tensor of shape (B,), optional
            km/s; no shift by default.

        Returns
        -------
        Tensor, shape (B, n_wave)
        """
        rows = torch.addmm(self._mean, in_blocks(coefficients), self._components)
        depth = torch.view_as_complex(rows[: len(coefficients)].unflatten(1, (-1, 2)))
        real = broadening.kernel(self._n_bins, self._dk, vsini, vmac, resolution, self._mean.dtype)
        if rv is not None:
            depth = depth * self._phase(rv)
        depth = torch.view_as_complex(torch.view_as_real(depth) * real[..., None])
        return 1 - torch.fft.irfft(depth, n=self._n_fft)[:, : self.n_wave]

    def derivatives(
        self,
        coefficients: Tensor,
        vsini: Tensor,
        vmac: Tensor,
        resolution: float | Tensor,
        rv: Tensor,
        wanted: tuple[str, ...] = VELOCITIES,
    ) -> Tensor:
        """Spectra and their derivatives.

        Parameters
        ----------
        coefficients : Tensor, shape (B, 1 + n, K)
            Of each spectrum, and their derivatives with respect to n quantities.
        vsini, vmac, rv : Tensor, shape (B,)
            km/s.
        resolution : float or Tensor of shape (B,)
        wanted : tuple of str
            Of :data:`VELOCITIES`.

        Returns
        -------
        Tensor, shape (B, 1 + n + number of wanted, n_wave)
            The spectrum minus one, its derivatives with respect to the n quantities and those with
            respect to ``wanted``: for vsini and vmac the *squares* of these velocities, which do
            not vanish where they do.
        """
        (size, n), n_bins = coefficients.shape[:2], self._n_bins
        rows = in_blocks(coefficients.flatten(0, 1)) @ self._components
        rows = rows[: size * n].unflatten(0, (size, n))
        rows[:, 0] += self._mean
        kernels = broadening.kernel_derivatives(
            n_bins, self._dk, vsini, vmac, resolution, rows.dtype,
            tuple(name for name in wanted if name != "rv"),
        )  # fmt: skip
        columns = rows.new_empty(size, n + len(wanted), n_bins, 2)
        depth, out = (torch.view_as_complex(x) for x in (rows.unflatten(2, (-1, 2)), columns))
        # real factors are faster
        phase = self._phase(rv) if bool((rv != 0).any()) else None
        factors = {
            # the depth is one minus the flux
            name: -kernel if phase is None else phase * -kernel
            for name, kernel in kernels.items()
        }
        torch.mul(depth, factors[""][:, None], out=out[:, :n])
        for column, name in enumerate(wanted, n):
            if name != "rv":
                torch.mul(depth[:, 0], factors[name], out=out[:, column])
                continue
            # exp(-i k x) moves lines to the red, by one step of ln(wavelength) for d ln(1 + rv/c)
            slope = (1 + rv.double() / broadening.C_KMS).reciprocal().to(rows)[:, None]
            wavenumber = torch.arange(n_bins, device=rows.device).to(rows) * self._dk * slope
            torch.mul(columns[:, 0, :, 1], wavenumber, out=columns[:, column, :, 0])
            torch.mul(columns[:, 0, :, 0], -wavenumber, out=columns[:, column, :, 1])
        lines = torch.fft.irfft(out.flatten(0, 1), n=self._n_fft)[:, : self.n_wave]
        return lines.unflatten(0, (size, -1))

    def _phase(self, rv: Tensor) -> Tensor:
        shift = broadening.log_shift(rv.double()) / self._log_step
        return broadening.phase(self._n_bins, shift / self._n_fft, self._mean.dtype.to_complex())
