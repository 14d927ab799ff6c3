"""Rules of Chinese corpora for texts in characters without gaps.

next(find_character_faults(prose, config.characters), None)
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from openqwen.data.rules.config import CharacterRules
from openqwen.data.rules.findings import Finding, above, below, share
from openqwen.data.rules.prose import Prose

MIN_MIXED = 20  # characters of the rarer form: a few are names and quotations

_BRACKETED = re.compile("【(.*?)】")
# frequent characters that only one way of writing has, in equal order
SIMPLIFIED = (
    "这为个们来时会对说过还与开关问间门应现见数学电机网络统体点经动实发长书车马东头国"
    "图场报执声处备无师当归录总态扩择据换损断显术条构标样检权没测浏满热环画码确种称离"
    "积页项须题语请设证试该详调读变让议记许论访识译义习乐从仅优传储儿写军农决况净务区"
    "单卖压双钱钟铁银错键闻队阳阶际陆险随难风"
)
TRADITIONAL = (
    "這為個們來時會對說過還與開關問間門應現見數學電機網絡統體點經動實發長書車馬東頭國"
    "圖場報執聲處備無師當歸錄總態擴擇據換損斷顯術條構標樣檢權沒測瀏滿熱環畫碼確種稱離"
    "積頁項須題語請設證試該詳調讀變讓議記許論訪識譯義習樂從僅優傳儲兒寫軍農決況淨務區"
    "單賣壓雙錢鐘鐵銀錯鍵聞隊陽階際陸險隨難風"
)


def find_character_faults(prose: Prose, limits: CharacterRules) -> Iterator[Finding]:
    """Yield what speaks against a text in characters."""
    for finding in _findings(prose, limits):
        if finding is not None:
            yield finding


def _findings(prose: Prose, limits: CharacterRules) -> Iterator[Finding | None]:
    mean = share(sum(map(len, prose.lines)), len(prose.lines))
    yield below("lines too short", mean, limits.min_mean_line_chars, "characters a line")
    if "【" in prose.text:
        inside = share(sum(map(len, _BRACKETED.findall(prose.text))), len(prose.text))
        yield above("brackets", inside, limits.max_bracketed, "of text stands in 【】")
    counts = {sign: n for sign, n in Counter(prose.text).items() if sign.isalnum()}
    entropy = _entropy(counts)
    yield below("few characters", entropy, limits.min_entropy, "nats of entropy")
    if prose.language == "zh":  # Japanese has forms of both by its nature
        yield _mixed_forms(counts, limits)


def _entropy(counts: dict[str, int]) -> float:
    """Return the entropy of letters and digits, in nats."""
    total = sum(counts.values())
    if not total:
        return 0.0
    return math.log(total) - sum(n * math.log(n) for n in counts.values()) / total


def _mixed_forms(counts: dict[str, int], limits: CharacterRules) -> Finding | None:
    """Return a finding where traditional and simplified forms stand side by side."""
    simplified = sum(counts.get(character, 0) for character in SIMPLIFIED)
    traditional = sum(counts.get(character, 0) for character in TRADITIONAL)
    rarer = min(simplified, traditional)
    if rarer < MIN_MIXED:
        return None
    mixed = rarer / (simplified + traditional)
    unit = "of characters in the rarer of simplified and traditional form"
    return above("mixed characters", mixed, limits.max_mixed, unit)
