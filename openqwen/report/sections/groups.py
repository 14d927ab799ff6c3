"""What the groups that mixture and metrics count by are called."""

_NAMES = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "ru": "Russian",
    "": "no language",
    "und": "undecided",
}


def group_name(group: str) -> str:
    """Return a group's name: a common language in words, all else as it stands."""
    return _NAMES.get(group, group)
