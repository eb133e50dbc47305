"""Plans what grows where on an allotment."""

from harvest.bed import Bed
from harvest.crop import Crop
from harvest.plan import Plan

__all__ = ["Bed", "Crop", "Plan"]
