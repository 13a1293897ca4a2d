"""What a file keeps: 11 bits of a number, 8 of one in a large matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harpsstar.nn.rounding import LARGE, pack, rounded, unpack


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(LARGE // 32, 32)


def test_each_number_of_a_large_matrix_is_off_by_little_of_the_largest_of_its_row(layer):
    before = layer.weight.detach().clone()
    rounded(layer)
    largest = before.abs().amax(1, keepdim=True)
    off = (layer.weight.detach() - before).abs() / largest
    # half a step of 1/127, and what cutting the scale takes off the largest
    assert 1e-4 < float(off.max()) <= max(0.5 / 127, 2**-7)


def test_what_a_large_matrix_makes_of_a_spectrum_hardly_changes(layer):
    x = torch.randn(50, LARGE // 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = layer(x)
        rounded(layer)
        assert float((layer(x) - before).std() / before.std()) < 0.01


def test_a_large_matrix_takes_a_byte_a_number(layer):
    tensors = pack(layer.state_dict())
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    assert size < 1.001 * LARGE + 1000


@settings(max_examples=30)
@given(power=st.floats(-30, 30), seed=st.integers(0, 2**31))
def test_rounded_once_it_is_rounded_for_good(power, seed):
    """Whatever the size of the numbers; a row of zeros stays one."""
    generator = torch.Generator().manual_seed(seed)
    matrix = 10.0**power * torch.randn(16, LARGE // 16, generator=generator)
    matrix[3] = 0
    once = unpack(pack({"m": matrix}))["m"]
    torch.testing.assert_close(unpack(pack({"m": once}))["m"], once, rtol=0, atol=0)
    assert (once[3] == 0).all()


def test_all_else_is_float16_or_as_it_was():
    state = {"kernel": torch.randn(2, 3, 1, 7), "bias": torch.randn(5), "n": torch.tensor(3)}
    kept = unpack(pack(state))
    assert kept["kernel"].dtype == torch.float16
    torch.testing.assert_close(kept["kernel"].float(), state["kernel"], rtol=5e-4, atol=1e-7)
    for name in ("bias", "n"):
        torch.testing.assert_close(kept[name], state[name], rtol=0, atol=0)
