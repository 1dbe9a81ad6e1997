"""ISO 4217's active currencies, and how many decimals their amounts have.

The list is ISO's of January 2026 (list one, amendment 180). It holds what an amount can be written
in: currencies and fund codes with a minor unit. Gold and other metals, the special drawing right
and its like, the code for tests (XTS) and the one for no currency (XXX) have none.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

_BY_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
        CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
        GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
        LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
        NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
        SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
        XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

#: By code: how many decimals an amount has, so that 10 ** decimals minor units make a major one.
MINOR_UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {code: decimals for decimals, codes in _BY_DECIMALS.items() for code in codes.split()}
)
#: Of a code that is no longer active.
_USUAL_DECIMALS: Final = 2


def decimal_amount(amount: int, currency: str | None) -> Decimal:
    """An amount in minor units as a number of the currency's own: 12.50, 1250, 1.250."""
    return Decimal(amount).scaleb(-MINOR_UNITS.get(currency or "", _USUAL_DECIMALS))


def format_amount(amount: int, currency: str | None) -> str:
    """An amount in minor units as 12.50 EUR, 1,250 JPY, 1.250 KWD."""
    decimals = MINOR_UNITS.get(currency or "", _USUAL_DECIMALS)
    whole, rest = divmod(abs(amount), 10**decimals)
    fraction = f".{rest:0{decimals}d}" if decimals else ""
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole:,}{fraction} {currency or ''}".rstrip()
