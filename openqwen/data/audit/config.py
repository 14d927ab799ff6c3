"""Settings of the audit page; light, so that recipes import it freely."""

from openqwen.core.config import Config, setting


class AuditConfig(Config):
    """The page a person reads to judge the filters."""

    samples: int = setting(20, "samples for each drop reason, and kept ones for each source", ge=1)
    band_samples: int = setting(
        3, "samples of each band of a score: of those kept, and of each reason to drop", ge=1
    )
    excerpt_chars: int = setting(1500, "characters of text kept of a dropped document", ge=80)
    page_samples: int = setting(600, "samples on one page; more are split into a page a step", ge=1)
