"""Extracts of VALD: every format says the same, and what is wrong is told with its line."""

from __future__ import annotations

import io
import itertools
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest

from harpsstar.errors import ReadError
from harpsstar.grid.synthesis import load_pysme
from harpsstar.grid.vald import grid_lines, read_vald
from harpsstar.model.linelist import DTYPE, ELEMENTS, air_from_vacuum, configuration

#: species, air wavelength, excitation eV, log gf, damping, isotopologue
LINES = [
    ("Fe 1", 5009.2, 3.3014, -2.957, (7.28, -3.91, -7.33), "Fe"),
    ("Ni 1", 5115.392, 3.8338, -0.281, (8.15, -6.15, -7.81), "(58)Ni"),
    ("Mg 1", 5183.604, 2.7166, -0.167, (7.99, -5.43, 729.238), "Mg"),
    ("TiO 1", 5167.101, 0.0123, -0.650, (0.0, 0.0, 0.0), "(48)Ti(16)O"),
    ("C2 1", 5165.0, 0.3, -0.1, (0.0, 0.0, 0.0), "(12)C(13)C"),
    ("Fe 2", 5411.0, 3.2215, -2.18, (8.49, -6.53, 180.249), "Fe+"),
]
SHARES = {"(58)Ni": 0.6808, "(48)Ti(16)O": 0.7372 * 0.9976, "(12)C(13)C": 2 * 0.9894 * 0.0106}
SIZES, MEDIA = ("short", "long"), ("air", "vac")
KINDS = list(itertools.product(SIZES, ("stellar", "all"), MEDIA, (True, False)))


def vacuum(air):
    """Wavelength whose conversion gives this one."""
    wave = air
    for _ in range(5):
        wave += air - float(air_from_vacuum(wave))
    return wave


def extract(size="short", kind="stellar", medium="air", scaled=True, energy="eV", unit="A"):
    """An extract as VALD writes it."""
    stellar, long = kind == "stellar", size == "long"
    factor = {"A": 1.0, "nm": 0.1}[unit]
    per_ev = {"eV": 1.0, "cm^-1": 8065.544}[energy]
    text = [" 5000.00000, 5420.00000, 6, 12345, 1.0 Wavelength region, lines selected, Vmicro"]
    title = "Lande factors  Damping parameters" if long else "Damping parameters  Lande"
    text = text * stellar + [f"                {title}  {'Central' * stellar}"]
    if long:
        text.append(f"Spec Ion  WL_{medium}({unit})  log gf* E_low({energy}) J lo E_up({energy}) "
                    f"J up  lower upper mean Rad. Stark Waals {'depth' * stellar}")  # fmt: skip
    else:
        text.append(f"Spec Ion  WL_{medium}({unit})  Excit({energy}) {'Vmic ' * stellar}log gf* "
                    f"Rad. Stark Waals factor {'depth ' * stellar} Reference")  # fmt: skip
    for species, air, excitation, gf, damping, isotopologue in LINES:
        wave = (air if medium == "air" else vacuum(air)) * factor
        rad, stark, vdw = damping
        broad = f"{rad:6.3f},{stark:6.3f},{vdw:8.3f}"
        low = excitation * per_ev
        if long:
            up = (excitation + 12398.4 / air) * per_ev
            text += [
                f"'{species}', {wave:12.5f},{gf:7.3f},{low:10.4f},  2.0,{up:10.4f},  3.0,  1.500,"
                f"  1.300,  1.200,{broad},{' 0.123,' * stellar}",
                "'  LS                                          3d8 c3F'",
                "'  LS                                     3d6.(3F2).4s.4p.(3P*) v3D*'",
                f"'N   D      Kurucz data {isotopologue:<14}   1 wl:K14   2 gf:FMW   1 K14'",
            ]
        else:
            text.append(
                f"'{species}', {wave:12.5f},{low:10.4f},{' 1.0,' * stellar}{gf:7.3f},{broad},"
                f" 1.110,{' 0.270,' * stellar} '   1 wl:K14   1 gf:K14   1 K14 {isotopologue}   '"
            )
    if stellar:
        symbols = [*ELEMENTS, "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es"]
        abundances = [f"'{symbol:2}: -5.00'," for symbol in symbols]
        rows = [abundances[:2], *(abundances[i : i + 6] for i in range(2, 99, 6))]
        text += ["'castelli_ap00k2_T05750G40.krz',", *map("".join, rows)]
        text[-1] += "'END'"
    word = "" if scaled else "NOT "
    return "\n".join(
        [
            *text,
            f"* oscillator strengths were {word}scaled by the solar isotopic ratios.",
            "References:",
            "  1. Kurucz obs. energy level: Fe 1",
            "",
        ]
    )


@pytest.fixture
def saved(tmp_path):
    def save(text):
        path = tmp_path / "extract.vald"
        path.write_text(text)
        return path

    return save


@pytest.mark.parametrize(("size", "kind", "medium", "scaled"), KINDS)
def test_every_format_says_the_same(saved, size, kind, medium, scaled):
    lines = read_vald(saved(extract(size, kind, medium, scaled)))
    assert lines.dtype == DTYPE
    expected = sorted(LINES, key=lambda line: line[1])
    assert lines["species"].tolist() == [line[0] for line in expected]
    np.testing.assert_allclose(lines["wavelength"], [line[1] for line in expected], atol=2e-5)
    np.testing.assert_allclose(lines["excitation"], [line[2] for line in expected], atol=1e-4)
    share = [1.0 if scaled else SHARES.get(line[5], 1.0) for line in expected]
    gf = [line[3] for line in expected] + np.log10(share)
    np.testing.assert_allclose(lines["log_gf"], gf, atol=1e-3)
    for i, name in enumerate(("gamma_rad", "gamma_stark", "gamma_vdw")):
        np.testing.assert_allclose(lines[name], [line[4][i] for line in expected], atol=1e-3)
    assert set(lines["source"]) == {"vald"}


@pytest.mark.parametrize("size", ["short", "long"])
def test_units_are_those_of_the_header(saved, size):
    usual = read_vald(saved(extract(size)))
    for options in ({"energy": "cm^-1"}, {"unit": "nm"}):
        other = read_vald(saved(extract(size, **options)))
        np.testing.assert_allclose(other["excitation"], usual["excitation"], atol=1e-4)
        np.testing.assert_allclose(other["wavelength"], usual["wavelength"], atol=1e-4)


@pytest.mark.parametrize(("size", "medium"), list(itertools.product(SIZES, MEDIA)))
def test_pysme_reads_the_same_numbers(saved, size, medium):
    """The reader of the library, which keeps the file's medium and scaling."""
    pytest.importorskip("pysme")
    load_pysme()
    from pysme.linelist import vald

    path = saved(extract(size, "stellar", medium))
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        known = vald.ValdFile(str(path))._lines.sort_values("wlcent")
    lines = read_vald(path)
    assert known["species"].tolist() == lines["species"].tolist()
    wave = known["wlcent"].to_numpy()
    wave = air_from_vacuum(wave) if medium == "vac" else wave
    np.testing.assert_allclose(lines["wavelength"], wave, atol=1e-6)
    for theirs, ours in (("excit", "excitation"), ("gflog", "log_gf"), ("gamrad", "gamma_rad"),
                         ("gamqst", "gamma_stark"), ("gamvw", "gamma_vdw")):  # fmt: skip
        np.testing.assert_allclose(lines[ours], known[theirs], atol=1e-6)


@pytest.mark.parametrize("name", [
    "korg-vald/threshold01.vald", "rvlinelist-vald/VALD-Solar.txt",
    "rvlinelist-vald/VALD-AlphaCenB.txt",
])  # fmt: skip
def test_genuine_extracts_are_read_whole(shared_inputs, name):
    path = shared_inputs / "lines" / name
    count = int(path.read_text(errors="replace").split(",")[2])
    lines = read_vald(path)
    assert len(lines) == count
    strong = lines[(lines["species"] == "Mg 1") & (abs(lines["wavelength"] - 5183.604) < 0.005)]
    assert len(strong) == 1


def test_the_grid_takes_what_lies_in_its_range(shared_inputs):
    path = shared_inputs / "lines/rvlinelist-vald/VALD-Solar.txt"
    some, ends = grid_lines(path), configuration()["range"]
    assert 300 < len(some) < len(read_vald(path)) / 10
    assert some["wavelength"].min() > ends["low"]
    assert some["wavelength"].max() < ends["high"]


def changed(text, number, new):
    """The text with one line (from 1) replaced; left out for None."""
    lines = text.split("\n")
    lines[number - 1 : number] = [] if new is None else [new]
    return "\n".join(lines)


SHORT, LONG = extract(), extract("long")
BAD = {
    "empty": ("", "no header"),
    "a page of the web": ("<html><body>Sorry</body></html>", "no header"),
    "no energy": (SHORT.replace("Excit(eV)", "Energy"), "line 3: no energy"),
    "a word for a number": (SHORT.replace("-0.281", "lots"), "line 5: .*lots.*'Fe 1', followed"),
    "a field is missing": (changed(SHORT, 5, "'Ni 1', 5115.392, 3.8338"), "line 5: 2 numbers"),
    "a negative wavelength": (SHORT.replace(" 5115.39200", "-5115.39200"), "line 5: wavelength -5"),
    "a line cut in two": (changed(SHORT, 6, "'Mg 1"), "line 6: \"'Mg 1\""),
    "a line left out": (changed(SHORT, 6, None), "after 5; expected 6 lines"),
    "a quarter of a long line left out": (changed(LONG, 6, None), "line 8: .*as before"),
    "cut off": (SHORT[: SHORT.index("* osc")], "no footnote on isotopic scaling"),
    "cut off in a long line": ("\n".join(LONG.split("\n")[:9]), "line 10: the end of the file"),
    "truncated by VALD": ("WARNING: Output was truncated\n" + SHORT, "line 1 says 'WARNING"),
    "an isotope that is none": (
        extract(scaled=False).replace("(58)Ni", "(59)Ni"), r"line 5: isotope \(59\)Ni.*\(58\)Ni"
    ),
    "other wavelengths": (SHORT.replace("5411.", "5311."), "expected an extract of 5010 to 5410"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_with_file_and_line(saved, case):
    text, message = BAD[case]
    path = saved(text)
    with pytest.raises(ReadError, match=message) as caught:
        read_vald(path)
    assert str(path) in str(caught.value)
    assert caught.value.expected


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ReadError, match="No such file"):
        read_vald(tmp_path / "none.vald")
