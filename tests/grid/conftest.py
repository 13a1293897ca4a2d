"""Inputs of the synthesis, where they are at hand."""

from tests.inputs import decks, inputs_root, lines, shared_inputs, two_line_root

__all__ = ["decks", "inputs_root", "lines", "shared_inputs", "two_line_root"]
