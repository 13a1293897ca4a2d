"""Observed spectra: the canonical frame, the continuum, the velocity, the noise."""
