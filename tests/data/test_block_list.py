import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, code, conversation, document

from openqwen.core.config import parse_config
from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.data.rules.block_list import BlockList, block_terms, load_block_lists, read_terms
from openqwen.data.rules.block_list_config import BlockListConfig

# mild stand-ins: what is matched does not depend on what the words mean
ENGLISH = "# words\nblighter\nsilly ass\n\nb*ast\ncad\nknave\n"
CHINESE = "笨蛋\n口交\n坏\n13.\n傻瓜\n"


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "en.txt").write_text(ENGLISH, encoding="utf-8")
    (tmp_path / "zh.txt").write_text(CHINESE, encoding="utf-8")
    return {"en": str(tmp_path / "en.txt"), "zh": str(tmp_path / "zh.txt")}


def verdict(found, config):
    (outcome,) = block_terms(config, [found])
    return "kept" if isinstance(outcome, Document) else outcome.reason


def english(text, *allowed):
    terms = ["blighter", "silly ass", "b*ast", "cad"]
    return BlockList(terms, allowed, by_characters=False).find(text).terms


def chinese(text, *allowed):
    return (
        BlockList(["笨蛋", "口交", "大笨蛋", "グロ"], allowed, by_characters=True).find(text).terms
    )


def test_words_are_matched_whole_in_any_case_and_over_line_ends():
    assert english("You Blighter, you SILLY\nass!") == ("blighter", "silly ass")
    assert english("Academy of Cadiz, blighters, a silly assistant") == ()
    assert english("What a b*ast.") == ("b*ast",)
    assert english("ab*ast, b*asting") == ()


def test_chinese_is_matched_by_characters_the_longest_first():
    assert chinese("你这大笨蛋真是") == ("大笨蛋",)
    assert chinese("笨 蛋") == ("笨蛋",)
    assert chinese("十字路口交通繁忙", "口交通") == ()
    assert chinese("十字路口交通繁忙") == ("口交",)


def test_a_term_in_katakana_is_no_part_of_a_longer_word():
    assert chinese("デバッグログを保存") == ()
    assert chinese("とてもグロい") == ("グロ",)


def test_terms_and_their_share_of_the_text_are_measured():
    found = BlockList(["cad", "rat"], by_characters=False).find("cad rat cad 1234567")
    assert found.terms == ("cad", "rat")
    assert (found.hits, found.density) == (3, 9 / 16)


def test_documents_fall_by_density_or_variety_or_at_one_hit(lists):
    config = BlockListConfig(files=lists)
    assert verdict(document(GOOD_ENGLISH), config) == "kept"
    assert verdict(document(GOOD_ENGLISH + " Cad!"), config) == "kept"
    assert verdict(document(GOOD_ENGLISH + " Cad! Blighter! Knave!"), config) == "offensive terms"
    assert verdict(document(GOOD_ENGLISH + " Cad!" * 9), config) == "kept"
    variety = BlockListConfig(files=lists, max_density=0.02, max_distinct=1)
    assert verdict(document(GOOD_ENGLISH + " Cad! Knave!"), variety) == "offensive terms"
    strict = BlockListConfig(files=lists, any_hit=True)
    assert verdict(document(GOOD_ENGLISH + " Cad!"), strict) == "offensive terms"
    assert (
        verdict(document(GOOD_CHINESE + "真是笨蛋。", language="zh"), strict) == "offensive terms"
    )
    assert verdict(conversation("Well?", "You cad."), strict) == "offensive terms"
    assert verdict(code("cad = 1\n"), strict) == "kept"


def test_terms_of_one_character_and_numbers_are_not_used_for_chinese(lists):
    strict = BlockListConfig(files=lists, any_hit=True)
    text = GOOD_CHINESE + "坏了，见第13.节，路口交通。"
    assert verdict(document(text, language="zh"), strict) == "kept"
    single = BlockListConfig(files=lists, any_hit=True, min_term_chars=1)
    assert verdict(document(text, language="zh"), single) == "offensive terms"


def test_a_list_may_hold_for_every_language(lists):
    config = BlockListConfig(files={"*": lists["en"]}, any_hit=True)
    for language in ("en", "de", "und"):
        assert verdict(document("Du cad.", language=language), config) == "offensive terms"


def test_it_is_off_by_default():
    assert verdict(document("blighter"), BlockListConfig()) == "kept"


def test_the_verdict_names_the_terms_and_their_share(lists):
    config = BlockListConfig(files=lists, any_hit=True)
    (outcome,) = block_terms(config, [document("A cad, a cad, a knave here.")])
    assert outcome.detail == "2 different listed terms, 61.11% of text: cad, knave"
    assert outcome.score == 11 / 18


def test_lists_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read as UTF-8 text"):
        read_terms(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="holds no term; give one a line"):
        read_terms(tmp_path / "empty.txt")
    with pytest.raises(UserError, match=r'fetched.0 = "xx" is not valid'):
        parse_config(BlockListConfig, {"fetched": ["xx"]}, where="test")


@pytest.mark.real
def test_the_list_that_c4_used_can_be_fetched():
    lists = load_block_lists(BlockListConfig(fetched=("en", "zh")))
    assert lists["en"].num_blocked + len(lists["en"].signs) == 403
    assert 280 < lists["zh"].num_blocked < 318
    assert lists["zh"].find(GOOD_CHINESE).hits == lists["en"].find(GOOD_ENGLISH).hits == 0
