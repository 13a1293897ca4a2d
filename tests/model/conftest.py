"""Inputs of the synthesis, where they are at hand."""

from tests.inputs import inputs_root, lines

__all__ = ["inputs_root", "lines"]
