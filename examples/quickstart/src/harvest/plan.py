"""A year's plan over all beds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import attrs

from harvest.bed import Bed
from harvest.crop import Crop


@attrs.frozen
class Plan:
    year: int
    beds: tuple[Bed, ...]

    def harvests(self) -> Iterator[tuple[date, Bed, Crop]]:
        """Every harvest of the year, earliest first."""
        yield from sorted(
            ((crop.ripe, bed, crop) for bed in self.beds for crop in bed.crops),
            key=lambda entry: entry[0],
        )
