"""Settings of the rule filters, one class a family of texts; light, so that recipes import it.

    config.for_language("vi").words.min_mean_word_chars       # 0.0: exempt

Sources of thresholds: Gopher (Rae et al. 2021, §A.1.1, table A1), C4 (Raffel et al. 2020, §2.2, and
its published code), FineWeb (Penedo et al. 2024), StarCoder (Li et al. 2023, §3), ChineseWebText
(Chen et al. 2023, preprocess.py), MAP-CC (Du et al. 2024, the Chinese rules of the published code
of MAP-NEO), MNBVC (the rules its cleaning group lists). The report names the steps of §2.1 and
gives no value, so every other number is ours; limits for Chinese are set so that translations of
one page fare alike (1.5 characters a word, measured on 1,300 pages of Debian's and LibreOffice's
manuals). docs/rules.md holds what each published value would do to good pages.
"""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from openqwen.core.config import Config, parse_config, setting, to_plain
from openqwen.core.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]

BOILERPLATE = (
    *("enable javascript", "javascript is disabled", "requires javascript"),
    *("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies"),
    *("use cookies", "all rights reserved", "read more", "click here to", "sign up for our"),
    *("版权所有", "未经许可", "未经授权", "转载请注明", "icp备", "icp证", "公网安备"),
    *("阅读全文", "查看更多", "点击查看", "展开全文", "返回顶部", "上一篇", "下一篇", "相关推荐"),
    *("責任編輯", "责任编辑", "扫一扫", "扫描二维码", "关注公众号", "微信公众号", "免责声明"),
)
SPAM_TERMS = (
    *("online casino", "casino bonus", "slot machine", "sports betting", "poker online"),
    *("payday loan", "cheap viagra", "buy cialis", "replica watches", "escort service"),
    *("real money", "free spins", "live sex", "porn video", "xxx video", "weight loss pills"),
    *("澳门赌场", "澳门新葡京", "百家乐", "时时彩", "六合彩", "北京赛车", "老虎机", "娱乐城"),
    *("博彩", "棋牌游戏", "真人荷官", "彩票计划", "开奖结果", "投注", "返水", "送彩金"),
    *("代开发票", "办证", "刻章", "信用卡套现", "私服", "外挂", "刷单", "刷钻"),
    *("成人视频", "成人电影", "激情视频", "裸聊", "一夜情", "援交", "迷药", "春药"),
    *("加微信", "加qq", "微信号", "网赚", "日赚", "高仿", "无抵押贷款", "减肥药"),
)


class WordRules(Config):
    """Limits for languages that write words with gaps."""

    min_words: int = setting(50, "words a document must have", source="Gopher", ge=0)
    max_words: int = setting(10_000_000, "words it may have (Gopher's 100,000 loses books)", ge=1)
    min_mean_word_chars: float = setting(
        3.0, "mean word length; Korean and Vietnamese are exempt", source="Gopher", ge=0
    )
    max_mean_word_chars: float = setting(10.0, "mean word length", source="Gopher", gt=0)
    short_line_chars: int = setting(30, "a line up to this length is short", source="FineWeb")
    max_word_chars: int = setting(1000, "longest word", source="C4's code, of lines", ge=1)
    max_lines_a_word: float = setting(
        0.4, "lines for each word: above it a text is a list (FineWeb's code 0.3)", ge=0
    )
    max_words_a_mark: float = setting(
        200.0, "words for each punctuation mark (MAP-CC asks for one mark at all)", gt=0
    )
    min_sentences: int = setting(
        0, "sentences: words up to a full stop or the like; lists have none (C4 5)", ge=0
    )


class CharacterRules(Config):
    """Limits for Chinese, Japanese and Thai, judged by characters."""

    min_chars: int = setting(
        75, "characters (Latin words count as one) a document must have (ChineseWebText 200)", ge=0
    )
    max_chars: int = setting(20_000_000, "characters it may have (MAP-CC's 10,000 loses books)")
    min_script: Share = setting(
        0.25, "share of units that are in the language's own script (MNBVC 0.7)"
    )
    short_line_chars: int = setting(10, "a line up to this length is short")
    max_lines_a_char: float = setting(
        0.27, "lines for each character: above it a text is a list (FineWeb 0.3 a word)", ge=0
    )
    max_chars_a_mark: float = setting(
        150.0, "characters for each punctuation mark; Thai, which writes gaps instead, is exempt"
    )
    min_sentences: int = setting(
        0, "sentences, half- or full-width ends alike (C4 5, MAP-CC 2)", ge=0
    )
    min_mean_line_chars: float = setting(
        5.0, "mean line length, wrapped lines as one (ChineseWebText 10)", ge=0
    )
    max_bracketed: Share = setting(0.1, "share of text in 【】", source="MAP-CC")
    min_entropy: float = setting(
        3.0, "entropy of the letters and digits, in nats", source="MAP-CC", ge=0
    )
    max_mixed: Share = setting(
        0.2,
        "traditional and simplified forms at once: share of the rarer of the two "
        "(ChineseWebText drops every page with a traditional one)",
        le=0.5,
    )


class ProseRules(Config):
    """Limits that hold for every language; code blocks are left out before measuring."""

    min_prose_units: int = setting(10, "words or characters outside code blocks", ge=1)
    max_symbol_ratio: float = setting(
        0.1, "hash signs and ellipses for each word", source="Gopher, MAP-CC", ge=0
    )
    min_alphabetic: Share = setting(0.7, "share of words with a letter (Gopher 0.8, MAP-CC 0.7)")
    max_bullet_lines: Share = setting(
        0.9, "share of lines that open a list", source="Gopher, MAP-CC"
    )
    max_ellipsis_lines: Share = setting(
        0.3, "share of lines that end in an ellipsis", source="Gopher, MAP-CC"
    )
    min_stop_words: int = setting(
        2, "different stop words a document must have", source="Gopher", ge=0
    )
    min_ended_lines: Share = setting(
        0.12, "share of lines that end in punctuation", source="FineWeb"
    )
    max_short_lines: Share = setting(0.85, "share of lines that are short (FineWeb 0.67)")
    banned_phrases: tuple[str, ...] = setting(
        ("lorem ipsum",), "a document with one of these is dropped, lower case", source="C4"
    )
    max_curly_brackets: float = setting(
        1.0, "opening curly brackets for each word; formulas are full of them (C4 0)", ge=0
    )
    max_address_lines: Share = setting(0.7, "share of lines that are web addresses and little else")
    max_boilerplate_lines: Share = setting(
        0.3, "share of lines with a phrase of notices (MAP-CC: 0.3 end in “read more”)"
    )
    boilerplate: tuple[str, ...] = setting(
        BOILERPLATE, "such phrases, lower case (C4 drops lines with its own)", source="C4 and ours"
    )
    max_garbled: Share = setting(
        0.005, "share of characters that a wrong decoding leaves, such as 锟斤拷 or â€™"
    )
    max_spam: Share = setting(0.03, "share of text in phrases of spam, three different at least")
    spam_terms: tuple[str, ...] = setting(
        SPAM_TERMS, "phrases of gambling, loan, sex and forgery advertisements, lower case"
    )


class RepetitionRules(Config):
    """Limits on what a text repeats; Gopher's own take one good manual page in five."""

    max_duplicate_lines: Share = setting(0.5, "share of lines seen before (Gopher 0.3)")
    max_duplicate_line_chars: Share = setting(
        0.3, "share of text in such lines (Gopher 0.2, FineWeb's code 0.01)"
    )
    max_duplicate_paragraphs: Share = setting(0.5, "share of paragraphs seen before (Gopher 0.3)")
    max_duplicate_paragraph_chars: Share = setting(
        0.3, "share of text in such paragraphs (Gopher 0.2)"
    )
    max_top_ngrams: dict[int, Share] = setting(
        {2: 0.3, 3: 0.28, 4: 0.26},
        "words in an n-gram -> share of text its most frequent one covers (Gopher 0.2, 0.18, 0.16)",
    )
    min_top_words: int = setting(
        100,
        "words from which the most frequent n-gram is judged: a short page on one thing names it "
        "often, in Chinese seven times as many pages as in English",
        ge=0,
    )
    max_duplicate_ngrams: dict[int, Share] = setting(
        {5: 0.45, 6: 0.42, 7: 0.39, 8: 0.36, 9: 0.33, 10: 0.3},
        "words in an n-gram -> share of text in those seen before (Gopher a third of each)",
    )
    chars_a_word: int = setting(
        2, "characters that count as a word where words have no gaps, for n-gram lengths", ge=1
    )


class CodeRules(Config):
    """Limits for source code."""

    min_words: int = setting(20, "words and numbers a file must have", ge=0)
    max_line_chars: int = setting(1000, "longest line", source="StarCoder", ge=1)
    max_mean_line_chars: float = setting(100.0, "mean line length", source="StarCoder", gt=0)
    min_alphanumeric: Share = setting(
        0.25, "share of characters that are letters or digits", source="StarCoder"
    )
    max_escapes: Share = setting(0.15, "share of text in \\x and \\u escapes and hex numbers")
    max_duplicate_lines: Share = setting(0.5, "share of lines longer than 5 seen before")
    generated_markers: tuple[str, ...] = setting(
        ("auto-generated", "autogenerated", "automatically generated", "do not edit"),
        "lower-case words in the first five lines that mark generated files",
        source="StarCoder",
    )


class LanguageRules(Config):
    """What is different for one language: names of settings and values, by family."""

    words: dict[str, Any] = setting({}, "of WordRules, such as {min_mean_word_chars = 2.0}")
    characters: dict[str, Any] = setting({}, "of CharacterRules")
    prose: dict[str, Any] = setting({}, "of ProseRules")
    repetition: dict[str, Any] = setting({}, "of RepetitionRules")


# languages that write syllables, or words of few syllable signs; and Thai, which has few marks
LANGUAGE_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "ko": {"words": {"min_mean_word_chars": 0.0}},
    "vi": {"words": {"min_mean_word_chars": 0.0}},
    "th": {"characters": {"max_chars_a_mark": 1e9}},
}


class RulesConfig(Config):
    """Rule filters, per class of language; conversations must only not be empty."""

    words: WordRules = WordRules()
    characters: CharacterRules = CharacterRules()
    prose: ProseRules = ProseRules()
    repetition: RepetitionRules = RepetitionRules()
    code: CodeRules = CodeRules()
    by_language: dict[str, LanguageRules] = setting(
        {}, "ISO 639-1 code -> what is different for it, such as vi.words.min_mean_word_chars"
    )

    @model_validator(mode="after")
    def _by_language_must_name_settings(self) -> Self:
        for code in self.by_language:
            try:
                self.for_language(code)
            except UserError as error:
                raise ValueError(str(error)) from None
        return self

    def for_language(self, code: str) -> "RulesConfig":
        """Return the rules with what is different for a language in their place.

        Raises:
            UserError: if a name under `by_language` is no setting, or its value is not valid.
        """
        ours, theirs = LANGUAGE_DEFAULTS.get(code, {}), self.by_language.get(code)
        changed: dict[str, Config] = {}
        for family in LanguageRules.model_fields:
            values = ours.get(family, {}) | (getattr(theirs, family) if theirs else {})
            if values:
                rules: Config = getattr(self, family)
                where = f"by_language.{code}.{family}"
                changed[family] = parse_config(type(rules), to_plain(rules) | values, where=where)
        return self.model_copy(update=changed) if changed else self
