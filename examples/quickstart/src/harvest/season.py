"""Dates of the growing season."""

from datetime import date

from dateutil.relativedelta import relativedelta

LAST_FROST = relativedelta(month=5, day=15)


def days_after(start: date, days: int) -> date:
    return start + relativedelta(days=days)


def is_frost_safe(day: date) -> bool:
    return day >= day + LAST_FROST
