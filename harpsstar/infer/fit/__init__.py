"""The full likelihood of the observed pixels, and the posterior of everything not known."""
