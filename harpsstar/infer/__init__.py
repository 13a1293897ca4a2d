"""From a spectrum to stellar parameters."""
