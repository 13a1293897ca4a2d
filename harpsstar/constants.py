"""Numbers of nature and of the Sun that more than one module uses, each written once.

tests/test_constants.py compares them, and those that stand beside the one formula that uses them,
with their sources.
"""

from __future__ import annotations

#: Speed of light, km/s (exact: the definition of the metre).
C_KM_S = 299_792.458
#: Standard deviation of a Gaussian in units of its median absolute deviation.
MAD_TO_SIGMA = 1.4826
#: Shares of a Gaussian within one and two standard deviations.
ONE_SIGMA, TWO_SIGMA = 0.6827, 0.9545
#: Wavelengths at the barycentre over those at a resting observatory, less one: potentials of the
#: Sun and of the Earth, and the Earth's transverse Doppler shift (Stumpff 1979, A&A 78, 229, with
#: Einstein's terms in their mean).
EINSTEIN_SHIFT = 1.55e-8
#: The Sun: IAU nominal teff [K] and logg (Prsa et al. 2016, AJ 152, 41), zero by definition, and
#: the vsini [km/s] of its spectrum as a star (Pavlenko et al. 2012).
SUN_TEFF, SUN_LOGG, SUN_M_H, SUN_VSINI = 5772.0, 4.438, 0.0, 1.8
#: Its macroturbulence, km/s (Doyle et al. 2014, MNRAS 444, 3592, Eq. 8).
SUN_VMAC = 3.21
