"""Colours of plots and pictures: a light value for files, a CSS variable for the page.

Plots are drawn in the light values; the inline SVG then names the variables instead, to which the
page's style sheet gives dark values too.
"""

INK = "#24303c"
FAINT = "#8a949e"
GRID = "#dfe4e9"
PAPER = "#ffffff"
SERIES = (
    "#2463ab",  # blue
    "#c35a06",  # orange
    "#2c7d4d",  # green
    "#8a48a4",  # purple
    "#b5303b",  # red
    "#0d7785",  # teal
    "#85632a",  # brown
    "#d0508f",  # pink
)

VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid"} | {
    color: f"--series-{place}" for place, color in enumerate(SERIES)
}

# groups keep their colour in every plot
_GROUPS = ("en", "zh", "code", "instructions")


def series_color(place: int) -> str:
    """Return the colour of a place in the palette; -1 is faint, and it starts again at its end."""
    return FAINT if place < 0 else SERIES[place % len(SERIES)]


def group_places(groups: list[str]) -> dict[str, int]:
    """Return each document group's place in the palette, the usual ones first."""
    others = sorted(set(groups) - set(_GROUPS))
    return {name: place for place, name in enumerate([*_GROUPS, *others]) if name in groups}
