"""Words that nearly every running text of a language holds, and that lists and menus lack.

Chinese, Japanese and Thai are given as characters or short strings that are looked for anywhere.
"""

from openqwen.core.ngrams import CHARACTER_LANGUAGES
from openqwen.data.rules.unit_measures import Units

_WORDS = {
    "ar": "في من على إلى أن هذا هذه التي الذي لا ما كان مع عن",
    "ca": "el la els les de del que i en un una per amb és no es",
    "cs": "a v se na je že to s z do o k pro jako jsou není",
    "da": "og i at det en den til er som på de med for af ikke",
    "de": "der die das und ist in zu den von mit nicht ein eine auf für sie es wird",
    "el": "και το να της του η ο στο με για που από είναι δεν",
    "en": "the be to of and that have with",  # Gopher's eight
    "es": "de la que el en y a los se del las un por con no una para es su",
    "fi": "ja on ei se että oli joka hän ovat kun niin mutta tai myös",
    "fr": "de la le et les des en un une du que est pour dans qui au sur pas",
    "he": "של את על לא זה הוא היא עם כי או גם אם",
    "hu": "a az és hogy nem is egy ez de volt van meg csak",
    "id": "yang dan di dari untuk dengan ini itu pada tidak dalam adalah akan anda",
    "it": "di che la il e è per un in una del non si con le da sono della",
    "ja": "の に は を た が で て と し",
    "ko": "이 그 및 수 것 등 또는 있는 있습니다 합니다 하는 대한 위해 때",
    "nl": "de het een en van in is dat te op voor met niet zijn die",
    "no": "og i det er som en på til av for med at ikke den",
    "pl": "w i na z do się nie że jest to o jak za od przez",
    "pt": "de a o que e do da em um para com não uma os no se na por",
    "ro": "și de în la a cu pe un o nu este care din pentru să",
    "ru": "и в не на с что по как из для это к от или",
    "sv": "och i att det som en på är av för med till den inte",
    "th": "ที่ การ เป็น และ ของ ใน มี ได้ ไม่ จะ",
    "tr": "ve bir bu da de için ile olarak çok daha gibi olan",
    "uk": "і в не на з що та як до за це від або для",
    "vi": "và của là có các được không cho trong một với này bạn để",
    "zh": "的 是 在 了 不 和 有 一 中 为 以 可 个 会 对 与 或 于 如 我 也 您 你 此 这 要 用 "
    "该 将 时 能 从 到 请 及 所 其 并 由 被 把 而 后 则 且 這 為 個 會 對 與 從 請",
}
STOP_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def count_stop_words(language: str, units: Units, text: str, *, enough: int) -> int | None:
    """Return how many different stop words of a language a text holds; None where we know none.

    Args:
        language: ISO 639-1 code.
        units: the text's words, for languages that write words with gaps.
        text: the text itself, for the others.
        enough: from so many on the others are not looked for.
    """
    words = STOP_WORDS.get(language)
    if words is None:
        return None
    if language in CHARACTER_LANGUAGES:
        found = 0
        for word in words:
            found += word in text
            if found >= enough:
                break
        return found
    return units.count_present(words)
