import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_CODE, GOOD_ENGLISH, code, conversation, document
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.data.config import LanguageConfig
from openqwen.data.draw import draw
from openqwen.data.language.identify import LanguageIdentifier, identify_languages, without_code
from openqwen.data.steps import Rejected


@pytest.fixture(scope="module")
def identify():
    return LanguageIdentifier(LanguageConfig()).identify


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GOOD_ENGLISH, "en"),
        (GOOD_CHINESE, "zh"),
        ("这一章介绍如何安装系统。", "zh"),
        ("使用 git commit 命令提交修改，然后用 git push 推送到 GitHub 上的远程仓库。", "zh"),
        ("本章では、システムのインストール方法について説明します。", "ja"),
        ("東京都庁舎展望室入場無料。営業時間午前九時から午後十時まで。", "ja"),
        ("이 장에서는 시스템을 설치하는 방법을 설명합니다.", "ko"),
        ("บทนี้อธิบายวิธีการติดตั้งระบบปฏิบัติการบนเครื่องคอมพิวเตอร์", "th"),
        ("Dieses Kapitel beschreibt, wie man das System auf einem Rechner einrichtet.", "de"),
        ("В этой главе описывается, как установить систему на компьютер.", "ru"),
        ("Ce chapitre explique comment installer le système sur un ordinateur.", "fr"),
        ("Ok.", "und"),
        ("3 + 4 = 7", "und"),
        ("", "und"),
    ],
)
def test_the_language_is_found(identify, text, language):
    assert identify(text)[0] == language


def test_code_blocks_do_not_decide_the_language(identify):
    page = f"这个函数计算文件里每个词出现的次数，并且打印前十个。\n\n```\n{GOOD_CODE}\n```"
    assert identify(page)[0] == "zh"
    assert identify(f"```\n{GOOD_CODE}\n```") == ("und", 0.0)


def test_fences_of_markdown_are_recognised():
    text = "before\n  ```js\nlet a;\n  ```\nbetween\n````\n```\ninner\n```\n````\nafter"
    assert without_code(text).split() == ["before", "between", "after"]


def test_only_the_chosen_languages_stay_and_code_is_not_judged():
    documents = [
        document(GOOD_ENGLISH, "s/en", language=""),
        document(GOOD_CHINESE, "s/zh", language=""),
        document("42", "s/und", language=""),
        code(GOOD_CODE),
        conversation("什么是潮汐？", "潮汐是海水在月球和太阳的引力下发生的涨落。"),
    ]
    config = LanguageConfig(languages=("zh",))
    outcomes = list(identify_languages(config, documents))
    kept = {o.id: o.language for o in outcomes if isinstance(o, Document)}
    assert kept == {"s/zh": "zh", "c/1": "", "i/1": "zh"}
    dropped = {o.document.id: o.reason for o in outcomes if isinstance(o, Rejected)}
    assert dropped == {"s/en": "other language", "s/und": "undecided"}
    assert outcomes[1].scores["language"] == 1.0


def test_no_list_of_languages_keeps_all_of_them():
    documents = [document(GOOD_ENGLISH, "s/en"), document("42", "s/und")]
    outcomes = list(identify_languages(LanguageConfig(), documents))
    assert [o.language for o in outcomes] == ["en", "und"]


def test_a_draw_never_changes():
    assert draw(0, "mixture", "s/1") == 0.7599909133348559


@settings(deadline=None)
@given(st.integers(0, 2**31), st.text(max_size=20))
def test_a_draw_lies_in_its_interval_and_depends_on_its_purpose(seed, id):
    one, other = draw(seed, "a", id), draw(seed, "b", id)
    assert 0 <= one < 1
    assert one != other
