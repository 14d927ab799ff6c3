"""Finding telephone, identity, card and account numbers by their form and check digits.

    text = "身份证11010519491231002X"
    list(find_chinese_ids(text, 0, len(text)))     # [(3, 21)], looked for from 0 to the end

A boundary is where no ASCII letter or digit stands, so that Chinese text may touch a number.
"""

import datetime
import re
from collections.abc import Iterator

CONTEXT_CHARS = 24  # how far before a number the word that announces it may stand
# assigned country calling codes (ITU-T E.164, list of 2016, without networks and satellites)
CALLING_CODES = frozenset(
    {
        *("1", "7", "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44"),
        *("45", "46", "47", "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61"),
        *("62", "63", "64", "65", "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95"),
        *("98", "211", "212", "213", "216", "218", "234", "254", "255", "256", "351", "352"),
        *("353", "354", "355", "356", "357", "358", "359", "370", "371", "372", "373", "374"),
        *("375", "376", "377", "380", "381", "382", "385", "386", "387", "389", "420", "421"),
        *("852", "853", "855", "856", "880", "886", "960", "961", "962", "963", "964", "965"),
        *("966", "967", "968", "970", "971", "972", "973", "974", "975", "976", "977", "992"),
        *("993", "994", "995", "996", "998"),
    }
)
PROVINCES = frozenset(
    {
        *("11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36"),
        *("37", "41", "42", "43", "44", "45", "46", "50", "51", "52", "53", "54", "61", "62"),
        *("63", "64", "65", "71", "81", "82", "83"),
    }
)
TEST_CARDS = frozenset(  # what payment services print in their manuals
    {
        *("4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556"),
        *("5555555555554444", "5105105105105100", "2223003122003222", "378282246310005"),
        *("371449635398431", "6011111111111117", "6011000990139424", "3530111333300000"),
        *("30569309025904", "38520000023237"),
    }
)
ADVERTISED_SSNS = frozenset({"078-05-1120", "219-09-9999", "123-45-6789"})
_COUNTRIES = {  # by length of their IBANs
    15: "NO",
    16: "BE",
    18: "DK FI NL",
    19: "SI",
    20: "AT EE LT LU",
    21: "CH HR LI LV",
    22: "BG DE GB IE RS",
    23: "AE IL",
    24: "AD CZ ES RO SA SE SK",
    25: "PT",
    26: "IS TR",
    27: "FR GR IT MC",
    28: "CY HU PL",
    29: "BR UA",
    31: "MT",
}
IBAN_LENGTHS = {
    country: length for length, countries in _COUNTRIES.items() for country in countries.split()
}

_INTERNATIONAL = re.compile(
    r"(?<![\w+])(?:\+|00(?=[1-9]))[1-9]\d{0,3}(?:[ .-]?(?:\(\d{1,5}\)|\d{1,5})){1,6}(?!\w|[.,]\d)",
    re.ASCII,
)
_CHINESE_MOBILE = re.compile(
    r"(?<![\w.+/-])1(?:3\d|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])"
    r"(?:([ -]?)\d{4}\1\d{4})(?![\w-]|\.\d)",
    re.ASCII,
)
_CHINESE_LANDLINE = re.compile(
    r"(?<![\w.+/-])(?:\(0\d{2,3}\)|（0\d{2,3}）|0\d{2,3}[- ])[2-8]\d{6,7}(?![\w-]|\.\d)", re.ASCII
)
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+/-])(?:\([2-9]\d\d\) ?|[2-9]\d\d([-.]))([2-9]\d\d)(?:-|(?:\1))(\d{4})(?![\w-]|\.\d)",
    re.ASCII,
)
_ANNOUNCED = re.compile(
    r"(?<![\w.+/-])\(?0\d{1,4}\)?(?:[ /-]{0,2}\d{2,5}){1,4}(?![\w-]|\.\d)", re.ASCII
)
_PHONE_WORD = re.compile(
    r"(?:电话|電話|手机|手機|联系|聯繫|热线|传真|拨打|致电|微信"
    r"|\b(?:tel|phone|mobile|cell|fax|call|whatsapp|telefon\w*|tél\w*|handy|móvil|celular)\b)"
    r"[^\n\d]*$",
    re.IGNORECASE,
)
_HAN = re.compile("[\u4e00-\u9fff]")
_CHINESE_ID = re.compile(r"(?<!\w)[1-8]\d{5}(?:19|20)\d{9}[\dXx](?!\w)", re.ASCII)
_CARD = re.compile(
    r"(?<![\w.-])[2-6]\d{3}(?:([ -]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|([ -]?)\d{6}\2\d{4,5})"
    r"(?![\w-]|\.\d)",
    re.ASCII,
)
_CARD_WORD = re.compile(
    r"(?:card|visa|master|amex|union ?pay|卡号|卡號|银行卡|信用卡|账号|帐号)[^\n\d]*$",
    re.IGNORECASE,
)
_SSN = re.compile(
    r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-]|\.\d)", re.ASCII
)
_IBAN = re.compile(
    r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)", re.ASCII
)


def find_phones(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each telephone number that starts in a part of a text.

    Numbers for films and manuals (North American 555-01xx) stay. A Chinese mobile number without
    gaps must stand beside Chinese text or be announced; other national forms must be announced.
    """
    for found in _INTERNATIONAL.finditer(text, start, end):
        digits = _digits(found[0]).removeprefix("00" if found[0].startswith("00") else "")
        if not 9 <= len(digits) <= 15:
            continue
        if found[0].startswith("00") and not _is_announced(text, found.start(), _PHONE_WORD):
            continue
        code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in CALLING_CODES), None)
        if code is None or (code == "1" and (len(digits) != 11 or digits[4:9] == "55501")):
            continue
        yield found.span()
    for found in _CHINESE_MOBILE.finditer(text, start, end):
        around = text[max(found.start() - 12, 0) : found.end() + 12]
        if (
            found[1] == "-"
            or _HAN.search(around)
            or _is_announced(text, found.start(), _PHONE_WORD)
        ):
            yield found.span()
    for found in _CHINESE_LANDLINE.finditer(text, start, end):
        if len(_digits(found[0])) <= 12:
            yield found.span()
    for found in _NORTH_AMERICAN.finditer(text, start, end):
        if not (found[2] == "555" and found[3].startswith("01")):
            yield found.span()
    for found in _ANNOUNCED.finditer(text, start, end):
        if 9 <= len(_digits(found[0])) <= 13 and _is_announced(text, found.start(), _PHONE_WORD):
            yield found.span()


def find_chinese_ids(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each resident number (GB 11643): province, date, check digit."""
    for found in _CHINESE_ID.finditer(text, start, end):
        number = found[0].upper()
        if number[:2] in PROVINCES and _is_date(number[6:14]) and _resident_check(number):
            yield found.span()


def _resident_check(number: str) -> bool:
    """Return whether the last sign is the remainder of ISO 7064 (MOD 11-2)."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17]


def _is_date(digits: str) -> bool:
    try:
        datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def find_cards(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each payment card number with a known issuer and a right check digit.

    Without gaps it must be announced; numbers that payment services print for tests stay.
    """
    for found in _CARD.finditer(text, start, end):
        number = _digits(found[0])
        if not _is_card(number) or number in TEST_CARDS:
            continue
        if number != found[0] or _is_announced(text, found.start(), _CARD_WORD):
            yield found.span()


def _is_card(number: str) -> bool:
    """Return whether issuer, length and Luhn's check digit (ISO/IEC 7812) fit."""
    issuers = (
        number[0] == "4" and len(number) in (13, 16, 19),
        "51" <= number[:2] <= "55" and len(number) == 16,
        "2221" <= number[:4] <= "2720" and len(number) == 16,
        number[:2] in ("34", "37") and len(number) == 15,
        (number[:4] == "6011" or number[:2] == "65") and len(number) in (16, 19),
        number[:2] == "62" and 16 <= len(number) <= 19,
        "3528" <= number[:4] <= "3589" and len(number) in (16, 19),
        number[:2] in ("30", "36", "38") and len(number) == 14,
    )
    if not any(issuers) or len(set(number)) < 3:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (sum(doubled) + sum(map(int, number[-1::-2]))) % 10 == 0


def find_ssns(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each US social security number; the ones in advertisements stay."""
    for found in _SSN.finditer(text, start, end):
        if found[0] not in ADVERTISED_SSNS:
            yield found.span()


def find_ibans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each bank account number with a right length and check digits."""
    for found in _IBAN.finditer(text, start, end):
        length = IBAN_LENGTHS.get(found[0][:2], 0)
        number, at = "", found.start()
        while at < found.end() and len(number) < length:  # a word after it may look like a part
            number += text[at].strip()
            at += 1
        if length and len(number) == length and _iban_check(number):
            yield found.start(), at


def _iban_check(number: str) -> bool:
    digits = "".join(str(int(sign, 36)) for sign in number[4:] + number[:4])
    return int(digits) % 97 == 1


def _digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))


def _is_announced(text: str, start: int, word: re.Pattern[str]) -> bool:
    """Return whether a word of the kind stands shortly before a number, on its line."""
    return word.search(text[max(start - CONTEXT_CHARS, 0) : start]) is not None
