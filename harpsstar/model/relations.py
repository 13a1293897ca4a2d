"""Empirical relations for microturbulence, macroturbulence and [alpha/Fe], and their scatter.

They serve as priors of training and as starting values; they are never part of a likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harpsstar.labels import ALPHA, VMIC

#: km/s; scatter of stars about the relations (Jofré et al. 2014; Doyle et al. 2014, Eq. 8).
VMIC_SCATTER = 0.15
VMAC_SCATTER = 0.73
#: dex; half the distance between the thin and the thick disk at one metallicity (Adibekyan et al.
#: 2012, A&A 545, A32, their Fig. 7).
ALPHA_SCATTER = 0.1


def vmic_relation(teff: Tensor, logg: Tensor, m_h: Tensor) -> Tensor:
    """Microturbulence in km/s, clipped to what the grid holds.

    Gaia-ESO Survey relation (M. Bergemann & V. Hill, used in Jofré et al. 2014, A&A 564, A133;
    Smiljanic et al. 2014), for 4000–7000 K; teff is clipped to that range. The survey's two
    branches, dwarfs (logg ≥ 3.5) and giants, are joined smoothly over 0.5 dex.

    >>> import torch
    >>> sun = vmic_relation(torch.tensor(5772.0), torch.tensor(4.44), torch.tensor(0.0))
    >>> round(float(sun), 2)
    1.07
    """
    offset = teff.clamp(4000.0, 7000.0) - 5500.0
    gravity = logg - 4.0
    common = -0.14 * gravity - 0.005 * gravity.square() + 0.05 * m_h + 0.01 * m_h.square()
    warm = offset.clamp_min(-500.0)
    dwarf = 1.05 + 2.51e-4 * warm + 1.5e-7 * warm.square()
    giant = 1.25 + 4.01e-4 * offset + 3.1e-7 * offset.square()
    share = torch.sigmoid((logg - 3.5) / 0.125)
    return (share * dwarf + (1 - share) * giant + common).clamp(VMIC.low, VMIC.high)


def vmac_relation(teff: Tensor, logg: Tensor) -> Tensor:
    """Radial-tangential macroturbulence in km/s, clipped to 1–8.

    Doyle et al. (2014, MNRAS 444, 3592), Eq. 8, from asteroseismic vsini of dwarfs of
    5200–6400 K and logg 4.0–4.6; teff is clipped to that range, and the dependence on logg is
    carried on to giants, where it gives the 6–8 km/s that Gray (2005, Ch. 17) finds.

    >>> import torch
    >>> round(float(vmac_relation(torch.tensor(5777.0), torch.tensor(4.44))), 2)
    3.21
    """
    offset = teff.clamp(5200.0, 6400.0) - 5777.0
    value = 3.21 + 2.33e-3 * offset + 2.0e-6 * offset.square() - 2.0 * (logg - 4.44)
    return value.clamp(1.0, 8.0)


def alpha_relation(m_h: Tensor) -> Tensor:
    """[alpha/Fe] in dex, 0 to 0.4.

    The composition of the MARCS standard models (Gustafsson et al. 2008, A&A 486, 951, Sec. 3.2):
    0.4 below a metallicity of -1, 0 above 0, linear between.

    >>> import torch
    >>> alpha_relation(torch.tensor([-2.0, -0.5, 0.2])).tolist()
    [0.4000000059604645, 0.20000000298023224, 0.0]
    """
    return (-0.4 * m_h).clamp(ALPHA.low, ALPHA.high)
