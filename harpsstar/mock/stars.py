"""Stars of the emulator as the mock observer takes them: the target, a companion, the Moon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harpsstar.errors import OutsideGridError
from harpsstar.io.build import barycentric_factor
from harpsstar.labels import RV, VMAC, VSINI, Label
from harpsstar.mock.effects import Array, Contaminant, Model
from harpsstar.spectra.frame import C_KM_S

if TYPE_CHECKING:
    from harpsstar.model.emulator import Emulator

__all__ = ["SUN", "check_range", "model_star", "moonlight", "second_star"]

#: Nominal labels of the Sun: K, log10 of cm/s², dex, km/s.
SUN = (5772.0, 4.438, 0.0, 2.0)


def model_star(
    teff: float,
    logg: float,
    m_h: float,
    vsini: float,
    *,
    vmic: float | None = None,
    vmac: float | None = None,
    resolution: float,
    emulator: Emulator | None = None,
) -> Model:
    """Return the emulator's star as :func:`harpsstar.mock.observe` takes it.

    Parameters and errors are those of :func:`harpsstar.mock.observe_star`.
    """
    import torch

    from harpsstar.model.emulator import Emulator
    from harpsstar.model.relations import vmac_relation, vmic_relation

    emulator = Emulator.load() if emulator is None else emulator
    labels = torch.tensor([[teff, logg, m_h, vsini]])
    micro = vmic_relation(*labels[:, :3].T) if vmic is None else torch.tensor([vmic])
    macro = vmac_relation(*labels[:, :2].T) if vmac is None else torch.tensor([vmac])
    emulator.check(labels, micro)
    check_range(VSINI, vsini)
    check_range(VMAC, float(macro))

    @torch.no_grad()
    def flux(wave: Array) -> Array:
        spectrum = emulator.at(wave, labels, vmic=micro, vmac=macro, resolution=resolution)
        return np.asarray(spectrum[0], dtype=float)

    return flux


def moonlight(
    ratio: float,
    *,
    berv: float,
    velocity: float = 0.0,
    resolution: float,
    emulator: Emulator | None = None,
) -> Contaminant:
    """Light of the Sun that the Moon scatters into the fibre.

    Parameters
    ----------
    ratio : float
        Its continuum in units of the star's.
    berv : float
        Of the star [km/s]: moonlight does not follow it.
    velocity : float
        Of the Sun's lines in moonlight at the observatory [km/s]; it stays within about ± 1.
    resolution : float
        Resolving power.
    emulator : Emulator, optional
        The packaged one by default.
    """
    model = model_star(*SUN, resolution=resolution, emulator=emulator)
    factor = barycentric_factor(berv) * (1.0 + velocity / C_KM_S)
    return Contaminant(model, (factor - 1.0) * C_KM_S, ratio)


def second_star(
    teff: float,
    logg: float,
    rv: float,
    ratio: float,
    *,
    m_h: float,
    resolution: float,
    emulator: Emulator | None = None,
) -> Contaminant:
    """A companion in the fibre, rotating with 3 km/s.

    Parameters
    ----------
    teff, logg, m_h : float
        K, log10 of cm/s², dex.
    rv : float
        Barycentric velocity [km/s].
    ratio : float
        Its continuum in units of the star's.
    resolution : float
        Resolving power.
    emulator : Emulator, optional
        The packaged one by default.

    Raises
    ------
    OutsideGridError
        A label or velocity outside its range.
    """
    check_range(RV, rv)
    model = model_star(teff, logg, m_h, 3.0, resolution=resolution, emulator=emulator)
    return Contaminant(model, rv, ratio)


def check_range(label: Label, value: float) -> None:
    """Refuse a value outside a label's range.

    Raises
    ------
    OutsideGridError
        It is outside.
    """
    if not label.low <= value <= label.high:
        raise OutsideGridError(
            f"{label.name} {value:g} {label.unit}",
            expected=f"{label.low:g} to {label.high:g} {label.unit}",
        )
