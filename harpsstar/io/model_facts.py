"""What a table says of the model that made it; the rest is in its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEPT = ("name", "description", "labels", "network", "sha256")
_KEPT_OF_GRID = ("sha256", "harpsstar", "pysme")


def model_facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """Name, hash, recipe and versions of a model: a few hundred characters.

    Parameters
    ----------
    card : mapping
        The card of a model, with the ``sha256`` of its file. Cards have lists of every spectrum of
        the grid and tables of accuracy, which ``harpsstar models show`` shows.

    Returns
    -------
    dict
        ``name``, ``description``, ``labels``, ``network``, ``sha256``, ``recipe`` (its name) and
        ``grid`` (``sha256`` and the versions that made it); what the card lacks is left out.
    """
    facts = {key: card[key] for key in _KEPT if key in card}
    recipe, grid = card.get("recipe"), card.get("grid")
    if isinstance(recipe, Mapping) and "name" in recipe:
        facts["recipe"] = recipe["name"]
    if isinstance(grid, Mapping):
        facts["grid"] = {key: grid[key] for key in _KEPT_OF_GRID if key in grid}
    return facts
