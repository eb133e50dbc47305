"""A plan as text."""

from harvest.plan import Plan
from harvest.season import is_frost_safe


def lines(plan: Plan) -> list[str]:
    out = [f"Plan for {plan.year}"]
    for day, bed, crop in plan.harvests():
        frost = "" if is_frost_safe(crop.sown) else " (sown before the last frost)"
        out.append(f"{day:%d %b}  {crop.name:<10} {bed.name:<8} {bed.plants()[crop.name]:>4}{frost}")
    return out
