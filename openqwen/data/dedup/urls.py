"""Which URLs name the same page.

url_key("HTTP://Example.org:80/a/#top") == url_key("https://example.org/a")
"""

import hashlib
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def plain_url(url: str) -> str:
    """Return a URL without what does not name the page; "" for none.

    Scheme http or https, case of the host, default port, user, fragment and slashes at the end are
    form; path and query are not.
    """
    url = url.strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a broken address names itself
        return url
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not host:
        return url
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        host += f":{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"//{host}{parts.path.rstrip('/')}{query}"


def url_key(url: str) -> bytes:
    """Return 16 bytes that are equal for URLs of the same page; b"" for none."""
    plain = plain_url(url)
    if not plain:
        return b""
    data = plain.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=b"url").digest()
