"""What Hüttel & Clemmensen (2021) measured: their Tables 2, 3 and 4."""

from __future__ import annotations

from dataclasses import dataclass

#: Spectra of their test set.
N_TEST = 5667


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 2: mean absolute errors of the means on the test set.

    Attributes
    ----------
    model : str
        As the paper writes it.
    network : str
        As :mod:`harpsstar.nn.zoo` calls it; empty for what others published.
    covariance : str
        ``"diagonal"``, ``"full"`` or empty.
    snr : float
        Per pixel.
    teff : tuple of float
        Temperatures of training and test, K.
    mae : tuple of float or None
        Of teff (K), logg, m_h, vsini (km/s).
    """

    model: str
    network: str
    covariance: str
    snr: float
    mae: tuple[float | None, ...]
    teff: tuple[float, float] = (3500.0, 9750.0)


_COOL = (4000.0, 6000.0)

#: Table 2, in the paper's order.
TABLE2: tuple[PaperRow, ...] = (
    PaperRow("Residual-network", "resnet", "diagonal", 20.0, (76.9, 0.138, 0.055, 0.71)),
    PaperRow("Attention-network", "attention", "diagonal", 20.0, (73.0, 0.135, 0.053, 0.69)),
    PaperRow("DAE Residual-network", "dae-resnet", "diagonal", 20.0, (72.3, 0.133, 0.052, 0.67)),
    PaperRow("DAE Attention-network", "dae-attention", "diagonal", 20.0,
             (70.9, 0.134, 0.049, 0.57)),
    PaperRow("Residual-network", "resnet", "full", 20.0, (83.8, 0.143, 0.060, 0.75)),
    PaperRow("Attention-network", "attention", "full", 20.0, (79.2, 0.146, 0.055, 0.72)),
    PaperRow("DAE Residual-network", "dae-resnet", "full", 20.0, (89.1, 0.150, 0.060, 0.72)),
    PaperRow("DAE Attention-network", "dae-attention", "full", 20.0, (72.9, 0.137, 0.049, 0.58)),
    PaperRow("Cannon2", "", "", 200.0, (46.8, 0.066, 0.036, None)),
    PaperRow("StarNet", "", "", 200.0, (31.2, 0.053, 0.025, None)),
    PaperRow("Residual-network", "resnet", "diagonal", 100.0, (19.5, 0.053, 0.026, 0.30), _COOL),
    PaperRow("Attention-network", "attention", "diagonal", 100.0, (12.9, 0.045, 0.013, 0.15),
             _COOL),
)  # fmt: skip

#: Table 3: shares within one and two claimed sigmas, by network, at SNR 20.
TABLE3: dict[str, tuple[float, float]] = {
    "resnet": (0.799, 0.984),
    "attention": (0.655, 0.934),
}

#: Table 4: labels of the Sun and their errors, by network; and what the paper took for true.
TABLE4: dict[str, tuple[tuple[float, float], ...]] = {
    "resnet": ((5791.6, 140.1), (4.72, 0.28), (0.035, 0.15), (0.762, 1.76)),
    "attention": ((5325.2, 10.0), (2.15, 0.04), (-0.576, 0.01), (5.226, 0.40)),
}


def row_of(network: str, covariance: str, snr: float, teff: tuple[float, float]) -> PaperRow | None:
    """Row of Table 2 that a model answers to, if there is one."""
    for row in TABLE2:
        same = (row.network, row.covariance, row.snr, row.teff)
        if same == (network, covariance, snr, tuple(teff)):
            return row
    return None
