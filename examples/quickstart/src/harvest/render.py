"""A plan as HTML."""

from markupsafe import Markup

from harvest.plan import Plan

_ROW = Markup("<tr><td>{day}</td><td>{crop}</td><td>{bed}</td></tr>")


def html(plan: Plan) -> Markup:
    rows = (
        _ROW.format(day=day.isoformat(), crop=crop.name, bed=bed.name)
        for day, bed, crop in plan.harvests()
    )
    return Markup("<table>") + Markup("").join(rows) + Markup("</table>")
