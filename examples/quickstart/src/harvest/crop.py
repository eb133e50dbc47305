"""A crop, and the beds it grows in: one half of an import cycle."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import attrs

from harvest.season import days_after
from harvest.units import Metres

if TYPE_CHECKING:
    from harvest.bed import Bed


@attrs.frozen
class Crop:
    name: str
    sown: date
    days: int = attrs.field(validator=attrs.validators.gt(0))
    spacing: Metres = Metres(0.3)

    @property
    def ripe(self) -> date:
        return days_after(self.sown, self.days)

    def fits(self, bed: Bed) -> int:
        """How many plants of this crop a bed takes."""
        return int(bed.width // self.spacing) * int(bed.length // self.spacing)
