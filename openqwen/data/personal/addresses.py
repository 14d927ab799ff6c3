"""Finding e-mail and IP addresses that may belong to a person.

list(find_emails("write to lin@corp.cn"))     # [(9, 20)]
"""

import ipaddress
import re
from collections.abc import Iterator

LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
MAX_LOCAL = 64  # RFC 5321, §4.5.3.1.1
# reserved for examples and tests (RFC 2606, RFC 6761)
EXAMPLE_DOMAINS = frozenset({"example.com", "example.org", "example.net", "example.edu"})
EXAMPLE_ENDINGS = frozenset({"example", "test", "invalid", "localhost", "local", "localdomain"})
NOBODY = frozenset({"git", "hg", "svn", "noreply", "no-reply", "donotreply", "mailer-daemon"})
# top-level domains with more than two letters that mail is sent to; `x@self.weight` is code
LONG_ENDINGS = frozenset(
    {
        *("com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro"),
        *("mobi", "asia", "aero", "coop", "museum", "jobs", "travel", "tel", "cat", "dev"),
        *("app", "xyz", "top", "shop", "site", "online", "club", "tech", "store", "cloud"),
        *("live", "wang", "ltd", "vip", "ren", "group", "email", "world", "today", "blog"),
        *("wiki", "news", "agency", "company", "systems", "network", "digital", "science"),
        *("academy", "school", "university", "institute", "foundation", "engineering"),
        *("software", "solutions"),
    }
)
# resolvers that everybody writes down
WELL_KNOWN = frozenset(
    {
        *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "4.2.2.1", "4.2.2.2"),
        *("114.114.114.114", "114.114.115.115", "223.5.5.5", "223.6.6.6", "119.29.29.29"),
        *("180.76.76.76", "208.67.222.222", "208.67.220.220"),
    }
)
MAX_VERSION_PART = 30  # four numbers below it are a version or the number of a section
CONTEXT_CHARS = 16

_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,24})(?![A-Za-z0-9_-])"
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\d|/\d)", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:.])[23][0-9a-f]{3}(?::{1,2}[0-9a-f]{1,4}){3,7}(?![\w:]|/\d)", re.ASCII | re.IGNORECASE
)
_VERSION = re.compile(
    r"(?:version|release|build|firmware|kernel|版本|\bver?\b\.?|\bv)[\s:：]*$", re.IGNORECASE
)


def find_emails(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each e-mail address that may reach a person."""
    at = text.find("@", start, end)
    while at >= 0:
        first = at
        while first and at - first < MAX_LOCAL and text[first - 1] in LOCAL:
            first -= 1
        while first < at and text[first] in ".-+%_":
            first += 1
        domain = _DOMAIN.match(text, at + 1)
        if domain and first < at and _is_personal(text, first, at, domain):
            yield first, domain.end()
        at = text.find("@", at + 1, end)


def _is_personal(text: str, start: int, at: int, domain: re.Match[str]) -> bool:
    ending, host = domain[1].lower(), domain[0].lower()
    if ending in EXAMPLE_ENDINGS or ".".join(host.split(".")[-2:]) in EXAMPLE_DOMAINS:
        return False
    if len(ending) > 2 and ending not in LONG_ENDINGS:
        return False
    if text[max(start - 3, 0) : start] == "://":  # a login in an address
        return False
    return text[start:at].lower() not in NOBODY


def find_ips(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each public IP address of a single machine.

    Networks (203.0.113.0/24, or a last number of 0), versions and well-known resolvers stay.
    """
    for found in _IPV4.finditer(text, start, end):
        parts = [int(part) for part in found[0].split(".")]
        if found[0] in WELL_KNOWN or max(parts) < MAX_VERSION_PART or parts[3] == 0:
            continue
        if _VERSION.search(text, max(found.start() - CONTEXT_CHARS, 0), found.start()):
            continue
        if _is_global(found[0]):
            yield found.span()
    for found in _IPV6.finditer(text, start, end):
        if _is_global(found[0]):
            yield found.span()


def _is_global(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
        return found.is_global and not found.is_multicast
    except ValueError:
        return False
