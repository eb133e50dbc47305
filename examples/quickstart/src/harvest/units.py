"""Lengths and areas, in metres."""

from typing import NewType

Metres = NewType("Metres", float)
SquareMetres = NewType("SquareMetres", float)


def area(width: Metres, length: Metres) -> SquareMetres:
    return SquareMetres(width * length)
