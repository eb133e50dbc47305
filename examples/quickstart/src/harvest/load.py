"""Reads a plan from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harvest.bed import Bed
from harvest.crop import Crop
from harvest.errors import UnknownCropError
from harvest.plan import Plan
from harvest.units import Metres


def load(path: Path) -> Plan:
    raw: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    crops = {name: _crop(name, fields) for name, fields in raw["crops"].items()}
    beds = tuple(_bed(fields, crops) for fields in raw["beds"])
    return Plan(year=int(raw["year"]), beds=beds)


def _crop(name: str, fields: Mapping[str, Any]) -> Crop:
    spacing = Metres(float(fields.get("spacing", 0.3)))
    return Crop(name=name, sown=fields["sown"], days=int(fields["days"]), spacing=spacing)


def _bed(fields: Mapping[str, Any], crops: Mapping[str, Crop]) -> Bed:
    names: list[str] = fields.get("crops", [])
    for name in names:
        if name not in crops:
            raise UnknownCropError(name, fields["name"])
    return Bed(
        name=fields["name"],
        width=Metres(float(fields["width"])),
        length=Metres(float(fields["length"])),
        crops=tuple(crops[name] for name in names),
    )
