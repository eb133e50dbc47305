"""A deliberate type error: `rewarm check src mistake.py` shows how a failure looks."""

from harvest.crop import Crop


def total_days(crops: list[Crop]) -> int:
    return sum(crop.name for crop in crops)
