"""The table of currencies, and the reasons that stock is adjusted for."""

from typing import get_args

from actors.commands import AdjustmentReason
from models.rules.currencies import MINOR_UNITS, format_amount
from models.rules.reasons import ADDING, TAKING, allowed_reasons


def test_the_table_holds_each_active_currency_once() -> None:
    # ISO 4217, list one of January 2026: 165 codes with a minor unit.
    assert len(MINOR_UNITS) == 165
    assert list(MINOR_UNITS.values()).count(2) == 139
    assert all(len(code) == 3 and code.isupper() and code.isascii() for code in MINOR_UNITS)


def test_what_came_last_is_there_and_what_went_is_not() -> None:
    assert {"EUR", "XCG", "ZWG", "SLE", "VED"} <= MINOR_UNITS.keys()
    assert not {"BGN", "HRK", "ANG", "ZWL", "SLL", "CUC", "XXX", "XTS", "XAU"} & MINOR_UNITS.keys()


def test_an_amount_has_the_decimals_of_its_currency() -> None:
    shown = [format_amount(1_234_567, code) for code in ("JPY", "EUR", "KWD", "CLF")]

    assert shown == ["1,234,567 JPY", "12,345.67 EUR", "1,234.567 KWD", "123.4567 CLF"]


def test_every_reason_has_a_direction() -> None:
    assert {*ADDING, *TAKING} == set(get_args(AdjustmentReason))
    assert set(allowed_reasons(1)) & set(allowed_reasons(-1)) == {"correction"}
