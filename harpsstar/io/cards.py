"""Headers whose unreadable cards are absent rather than errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from astropy.io.fits import Header, VerifyError

__all__ = ["ReadableCards", "as_written"]


class ReadableCards(Mapping[str, Any]):
    """The cards of one or more headers that can be interpreted; the first header wins.

    A card is parsed when it is asked for: a header of 3,000 cards costs nothing else.

    Parameters
    ----------
    headers : Header or mapping
    """

    def __init__(self, *headers: Header | Mapping[str, Any]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> Any:
        for header in self._headers:
            try:
                if name in header:
                    return header[name]
            except Exception:  # noqa: BLE001  astropy parses a damaged card with any exception
                continue
        raise KeyError(name)

    def as_written(self, name: str) -> str:
        """The text that stands in a card, also in one that cannot be read; for messages."""
        for header in self._headers:
            if name in header and isinstance(header, Header):
                card = header.cards[name]
                try:
                    # Makes a quoted text of what is no value.
                    card.verify("silentfix")
                    return str(card.value)
                except (VerifyError, ValueError):
                    continue
        return ""

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(str(name) for header in self._headers for name in header if name))

    def __len__(self) -> int:
        return len(list(iter(self)))


def as_written(header: Mapping[str, Any], name: str) -> str:
    """What stands in a card, for messages; empty where there is none."""
    if name in header:
        return str(header[name])
    return header.as_written(name) if isinstance(header, ReadableCards) else ""
