"""Settings of matplotlib inside the session: a font with Chinese characters where there is one.

text = matplotlib_settings()      # a matplotlibrc
"""

import functools
from pathlib import Path

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))  # what the sandbox can see
FONTCONFIG = (
    '<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "fonts.dtd">\n<fontconfig>'
    + "".join(f"<dir>{folder}</dir>" for folder in FOLDERS)
    + "<cachedir>/tmp/fontconfig</cachedir></fontconfig>\n"
)
# file name's start -> family as matplotlib knows it
FAMILIES = {
    "NotoSansCJK": "Noto Sans CJK SC",
    "NotoSansSC": "Noto Sans SC",
    "SourceHanSans": "Source Han Sans SC",
    "wqy-microhei": "WenQuanYi Micro Hei",
    "wqy-zenhei": "WenQuanYi Zen Hei",
    "DroidSansFallback": "Droid Sans Fallback",
}


@functools.cache
def cjk_font() -> str | None:
    """Return the family of the first font with Chinese characters that is installed, or None."""
    names = [p.name for folder in FOLDERS if folder.is_dir() for p in folder.rglob("*.[to]t[fc]")]
    for start, family in FAMILIES.items():
        if any(name.startswith(start) for name in names):
            return family
    return None


def matplotlib_settings() -> str:
    """Return a matplotlibrc: small figures, an ASCII minus, the font's family first."""
    family = cjk_font()
    families = f"{family}, DejaVu Sans" if family else "DejaVu Sans"
    return (
        f"font.family: sans-serif\nfont.sans-serif: {families}\naxes.unicode_minus: False\n"
        "figure.max_open_warning: 0\n"
    )
