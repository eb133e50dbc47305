"""A bed, and what grows in it: the other half of the import cycle."""

from __future__ import annotations

import attrs

from harvest.crop import Crop
from harvest.units import Metres, SquareMetres, area


@attrs.frozen
class Bed:
    name: str
    width: Metres
    length: Metres
    crops: tuple[Crop, ...] = ()

    @property
    def area(self) -> SquareMetres:
        return area(self.width, self.length)

    def plants(self) -> dict[str, int]:
        share = max(len(self.crops), 1)
        return {crop.name: crop.fits(self) // share for crop in self.crops}
