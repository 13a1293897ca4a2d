"""The emulator against PySME: with the grid's own inputs only, and then it is what it should be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from harpsstar.errors import InputsMissingError, OutsideGridError
from harpsstar.evaluate import synthesis as comparing
from harpsstar.evaluate.emulator import TEFF_RANGE, emulator_accuracy
from harpsstar.grid import atlas9, inputs
from harpsstar.grid.build import compress, compute
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator

TEFF, LOGG = (5750, 6000), ("4.5",)
VMIC, ALPHA = (1.0,), (0.0,)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two atmospheres at every metallicity, and a line list of two lines of iron."""
    pytest.importorskip("pysme")
    shared = Path(os.environ.get("HARPSSTAR_SHARED", Path(__file__).parents[3] / "shared"))
    named = os.environ.get(inputs.VARIABLE)
    at_hand = [Path(named)] if named else []
    source = next((f for f in [*at_hand, shared / "data"] if (f / "atlas9-odfnew").is_dir()), None)
    if source is None:
        pytest.skip("no atmospheres: set HARPSSTAR_CACHE, or HARPSSTAR_SHARED")
    folder = tmp_path_factory.mktemp("inputs")
    for code in atlas9.METALLICITY_CODES | atlas9.HELD_OUT_CODES:
        name = f"atlas9-odfnew/grid{code}odfnew"
        (folder / name).mkdir(parents=True)
        for teff in TEFF:
            for logg in LOGG:
                shutil.copy(source / name / f"{code}_{teff}_{logg}.dat", folder / name)
    for rule in linelist.configuration()["source"]:
        for element in rule.get("files", [""]):
            path = folder / rule["file"].format(name=element)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".zip":
                path.write_text("a title\n")
            else:
                import zipfile

                columns = "species,wave_vald,E_l,loggf,damping_rad,damping_stark,damping_waals"
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("lines.csv", f"{columns}\n")
    (folder / "lines/rvlinelist-vald/VALD-Solar.txt").write_text(
        "'Fe 1', 5198.7110, 2.2227, 1.0, -2.135, 8.230, -6.070, 351.271, 1.5, 0.8, 'a'\n"
        "'Fe 2', 5234.6243, 3.2215, 1.0, -2.180, 8.490, -6.530, 180.249, 0.9, 0.8, 'b'\n"
    )
    return folder


def matching(root):
    return {
        "decks_sha256": atlas9.digest(atlas9.find_family(root)),
        "linelist_sha256": linelist.digest(linelist.assemble(root)),
    }


def test_inputs_that_match_are_taken(root):
    decks, lines = comparing.matching_inputs(matching(root), root)
    assert len(decks) == len(TEFF) * len(LOGG) * len(atlas9.METALLICITY_CODES)
    assert set(lines["species"]) == {"Fe 1", "Fe 2"}


@pytest.mark.parametrize(
    ("name", "word"), [("decks_sha256", "decks"), ("linelist_sha256", "line list")]
)
def test_other_inputs_are_refused(root, name, word):
    for metadata in (matching(root) | {name: 64 * "0"}, {}):
        with pytest.raises(InputsMissingError, match="is not the one that the grid") as caught:
            comparing.matching_inputs(metadata, root)
        assert word in str(caught.value) or not metadata


@pytest.mark.slow
def test_pysme_agrees_with_a_grid_that_it_computed(root, tmp_path):
    pytest.importorskip("pysme")
    folder = compute(root, tmp_path / "work", vmic=VMIC, alpha=ALPHA, jobs=1)
    compress(root, folder, tmp_path / "grid.safetensors", vmic=VMIC, alpha=ALPHA, n_components=12)
    emulator = Emulator.load(tmp_path / "grid.safetensors")
    seen = []
    result = comparing.with_syntheses(
        emulator_accuracy(emulator, n_stars=1), emulator, root, off_node=1, plane=1, seed=1,
        progress=lambda name: lambda done, total: seen.append((name, done, total)),
    )  # fmt: skip
    off_node, plane, twins = result.comparisons.values()
    assert (off_node.n, plane.n, twins.n) == (1, 1, 1)
    assert seen[-1] == (comparing.TWIN_NAME, 1, 1)
    assert [star["teff"] for star in twins.points] == [star["teff"] for star in plane.points]
    for star in off_node.points:
        assert TEFF_RANGE[0] <= star["teff"] <= TEFF_RANGE[1]
        assert bool(emulator.contains(*torch.tensor(list(star.values())[:5])[:, None]))
        assert star["vmic"] == VMIC[0]
    for star in (*plane.points, *twins.points):
        assert star["m_h"] == pytest.approx(0.2, abs=1e-6)
    # two lines of iron in 370 Å
    assert 0 < off_node.flux_rms_worst < 2e-3
    assert 0 < plane.flux_rms_worst < 2e-3
    assert 0 < twins.flux_rms_worst < 2e-3


def test_a_grid_without_solar_temperatures_has_no_stars_to_draw():
    hot = torch.cartesian_prod(torch.tensor([8000.0, 8250.0]), torch.tensor([4.0, 4.5]),
                               torch.tensor([0.0, 0.5]), torch.tensor([1.0]),
                               torch.tensor([0.0]))  # fmt: skip
    emulator = Emulator(hot, torch.ones(512), torch.ones(1, 512), torch.zeros(len(hot), 1),
                        log_wave0=8.5, log_step=2e-6)  # fmt: skip
    with pytest.raises(OutsideGridError, match="8000"):
        comparing.off_node_stars(emulator, [], 1, 0)
