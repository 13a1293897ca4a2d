"""harpsstar and its peers on the same spectra; see ``__main__.py``."""
