"""Language identification on texts of our own: languages, short, mixed and hostile texts."""

import random
import sys
import time
from itertools import combinations, pairwise

import pytest
from documents_for_tests import GOOD_CODE, conversation, document
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.data.language.config import LanguageConfig
from openqwen.data.language.identify import UNDECIDED, LanguageIdentifier, identify_languages
from openqwen.data.language.models import LanguageModels
from openqwen.data.language.prose_sample import prose_lines, spread, without_code
from openqwen.data.language.scripts import RANGES, main_script
from openqwen.data.language.twin_words import TWINS, twin_hits

SENTENCES = {
    "en": "In the morning the harbour was quiet, and only an old fisherman mended his nets.",
    "de": "Am Morgen war der Hafen still, und nur ein alter Fischer flickte seine Netze.",
    "fr": "Le matin, le port était calme et seul un vieux pêcheur réparait ses filets.",
    "es": "Por la mañana el puerto estaba tranquilo y solo un viejo pescador remendaba sus redes.",
    "pt": "De manhã o porto estava calmo e apenas um velho pescador consertava as suas redes.",
    "it": "Di mattina il porto era tranquillo e solo un vecchio pescatore riparava le sue reti.",
    "ca": "Al matí el port estava tranquil i només un vell pescador adobava les seves xarxes.",
    "ro": "Dimineața portul era liniștit și doar un pescar bătrân își repara plasele.",
    "nl": "'s Ochtends was de haven stil en alleen een oude visser herstelde zijn netten.",
    "sv": "På morgonen var hamnen tyst och bara en gammal fiskare lagade sina nät.",
    "da": "Om morgenen var havnen stille, og kun en gammel fisker lappede sine garn af hamp.",
    "no": "Om morgenen var havna stille, og bare en gammel fisker bøtte garna sine uten hastverk.",
    "fi": "Aamulla satama oli hiljainen, ja vain vanha kalastaja paikkasi verkkojaan.",
    "pl": "Rano w porcie było cicho i tylko stary rybak naprawiał swoje sieci.",
    "cs": "Ráno byl přístav tichý a jen starý rybář spravoval své sítě, které byly roztrhané.",
    "sk": "Ráno bol prístav tichý a len starý rybár opravoval svoje siete, ktoré boli roztrhané.",
    "hu": "Reggel a kikötő csendes volt, és csak egy öreg halász javította a hálóit.",
    "tr": "Sabahleyin liman sessizdi ve yalnızca yaşlı bir balıkçı ağlarını onarıyordu.",
    "vi": "Buổi sáng bến cảng yên tĩnh, chỉ có một ông lão đánh cá đang vá lưới.",
    "id": "Pada pagi hari pelabuhan itu sepi karena hanya ada nelayan tua yang mau bekerja saja.",
    "ru": "Утром в гавани было тихо, и только старый рыбак чинил свои сети.",
    "uk": "Уранці в гавані було тихо, і лише старий рибалка лагодив свої сіті.",
    "bg": "Сутринта пристанището беше тихо и само един стар рибар кърпеше мрежите си.",
    "sr": "Ујутру је лука била тиха, и само је један стари рибар крпио своје мреже.",
    "el": "Το πρωί το λιμάνι ήταν ήσυχο και μόνο ένας γέρος ψαράς μπάλωνε τα δίχτυα του.",
    "ar": "في الصباح كان الميناء هادئا ولم يكن هناك سوى صياد عجوز يصلح شباكه.",
    "fa": "صبح بندر آرام بود و تنها یک ماهیگیر پیر تورهایش را تعمیر می‌کرد.",
    "he": "בבוקר היה הנמל שקט ורק דייג זקן אחד תיקן את רשתותיו.",
    "hi": "सुबह बंदरगाह शांत था और केवल एक बूढ़ा मछुआरा अपने जाल ठीक कर रहा था।",
    "th": "ตอนเช้าท่าเรือเงียบสงบ มีเพียงชาวประมงชราคนหนึ่งกำลังซ่อมแห",
    "ko": "아침에 항구는 조용했고 늙은 어부 한 사람만 그물을 손질하고 있었다.",
    "ja": "朝の港は静かで、年老いた漁師が一人だけ網を繕っていた。",
    "zh": "早晨的港口很安静，只有一位老渔夫在修补他的渔网。",
}
SHORT = {
    "en": "Where did you leave the keys?",
    "de": "Wo hast du die Schlüssel gelassen?",
    "fr": "Où as-tu laissé les clés ?",
    "es": "¿Dónde has dejado las llaves?",
    "it": "Dove hai lasciato le chiavi?",
    "nl": "Waar heb je de sleutels gelaten?",
    "sv": "Var har du lagt nycklarna?",
    "da": "Hvad har du lagt af nøgler?",
    "no": "Hva har du gjort med nøklene?",
    "fi": "Minne jätit avaimet?",
    "pl": "Gdzie zostawiłeś klucze?",
    "cs": "Kde jsi nechal ty klíče?",
    "hu": "Hol hagytad a kulcsokat?",
    "tr": "Anahtarları nerede bıraktın?",
    "vi": "Bạn để chìa khóa ở đâu?",
    "ms": "Sila cuba lagi kerana ralat itu.",
    "id": "Silakan coba lagi karena galat itu.",
    "ru": "Где ты оставил ключи?",
    "uk": "Де ти залишив ключі?",
    "el": "Πού άφησες τα κλειδιά;",
    "ar": "أين تركت المفاتيح؟",
    "he": "איפה השארת את המפתחות?",
    "hi": "तुमने चाबियाँ कहाँ छोड़ीं?",
    "th": "คุณวางกุญแจไว้ที่ไหน",
    "ko": "열쇠를 어디에 두었니?",
    "ja": "鍵をどこに置きましたか？",
    "zh": "你把钥匙放在哪里了？",
}


@pytest.fixture(scope="module")
def identify():
    return LanguageIdentifier(LanguageConfig()).identify


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_recognised(identify, language):
    assert identify(SENTENCES[language])[0] == language


@pytest.mark.parametrize("language", SENTENCES)
def test_a_page_is_recognised_by_the_first_look(identify, language):
    code, confidence = identify(f"{SENTENCES[language]}\n\n" * 40)
    assert (code, confidence) == (language, pytest.approx(1.0, abs=0.25))


@pytest.mark.parametrize("language", SHORT)
def test_a_short_sentence_is_recognised(identify, language):
    assert identify(SHORT[language])[0] == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Simulasi skrin sentuh", "ms"),
        ("Koordinat tetingkap", "ms"),
        ("Angiv navnet for den nye profil", "da"),
        ("Sigurnosne provjere mreže", "hr"),
        ("Skru volumet opp eller ned", "no"),
    ],
)
def test_words_of_near_twins_decide_where_models_are_torn(identify, text, language):
    assert identify(text)[0] == language


def test_a_page_whose_words_are_both_malay_and_indonesian_is_not_settled_by_the_first_look():
    words = "anak itu makan ikan di rumah besar dekat laut pada waktu malam " * 6
    models = LanguageModels(use_cld2=True)
    assert models.look(words) == ""
    assert models.look(words + "karena mau tidur saja " * 3) == "id"


@pytest.mark.parametrize("language", SENTENCES)
def test_code_beside_a_sentence_does_not_decide(identify, language):
    prose = SENTENCES[language]
    assert identify(f"{prose}\n\n{GOOD_CODE}")[0] == language
    assert identify(f"{prose}\n\n```python\n{GOOD_CODE * 3}\n```")[0] == language


@pytest.mark.parametrize("language", [code for code in SENTENCES if code != "en"])
def test_a_smaller_english_part_does_not_decide(identify, language):
    prose = SENTENCES[language]
    page = f"{prose}\n\n{SENTENCES['en']}\n\n{prose} {prose}"
    assert identify(page)[0] == language


def test_a_larger_sample_is_looked_at_where_the_first_has_no_prose():
    digits = "12 34 56 78 90 " * 12
    page = digits + f"{SENTENCES['de']}\n{digits}\n" * 12
    small = LanguageConfig(large_sample_chars=LanguageConfig().sample_chars)
    assert LanguageIdentifier(small).identify(page)[0] == UNDECIDED
    assert LanguageIdentifier(LanguageConfig()).identify(page)[0] == "de"


def test_code_does_not_lower_the_share_of_a_script(identify):
    assert identify(SENTENCES["zh"] * 8 + "\n" + "return list_of_names\n" * 4) == ("zh", 1.0)


def test_a_menu_of_short_labels_is_recognised(identify):
    menu = "Datei\nBearbeiten\nAnsicht\nEinfügen\nSeite einrichten\nDrucken\nHilfe\nÜber\nBeenden"
    assert identify(menu)[0] == "de"
    assert identify("文件\n编辑\n查看\n插入\n打印\n帮助")[0] == "zh"


def test_foreign_names_in_latin_letters_do_not_decide(identify):
    assert identify("使用 LibreOffice Writer 和 GNOME Evolution 编写邮件")[0] == "zh"
    assert identify("מפענח הווידאו Dirac בשימוש עם libschroedinger")[0] == "he"
    assert identify("Откройте настройки GNOME, Evolution и LibreOffice")[0] == "ru"


def test_the_main_text_decides_where_scripts_mix(identify):
    russian, greek = SENTENCES["ru"], SENTENCES["el"]
    assert identify(f"{russian} {russian} {greek}")[0] == "ru"
    assert identify(f"{russian} {greek} {greek}")[0] == "el"


@pytest.mark.parametrize("use_cld2", [True, False])
def test_vowel_signs_are_part_of_hindi_words(use_cld2):
    identify = LanguageIdentifier(LanguageConfig(use_cld2=use_cld2)).identify
    assert identify("क्या आप इस फ़ाइल को हटाना चाहते हैं?")[0] == "hi"


def test_simplified_and_traditional_chinese_are_one_language(identify):
    assert identify("请把软件安装到计算机上。") == ("zh", 1.0)
    assert identify("請把軟體安裝到電腦上。") == ("zh", 1.0)


@pytest.mark.parametrize("language", ["en", "de", "ru", "hi", "zh"])
def test_without_cld2_the_others_answer(language):
    identify = LanguageIdentifier(LanguageConfig(use_cld2=False)).identify
    assert identify(SENTENCES[language])[0] == language
    assert identify(f"{SENTENCES[language]}\n" * 20)[0] == language


def test_a_missing_cld2_is_named_with_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycld2", None)
    with pytest.raises(UserError, match=r"pip install pycld2==0\.42.*use_cld2=false"):
        LanguageModels(use_cld2=True).look("some words of a text")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 1000,
        "12345 67890 !!! ???",
        "[" * 5000,
        "<b>" * 5000,
        "a/" * 5000,
        "😀" * 2000,
        "\ue000\uf8ff" * 500,
        "\U000e0001" * 500,
        "\ud800\udfff" * 500,
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo" * 200,
        "f3a9c1e07b" * 300,
        "abcdefgh" * 300,
    ],
)
def test_what_is_no_prose_is_undecided(identify, text):
    assert identify(text)[0] == UNDECIDED


@pytest.mark.parametrize(
    "noise", ["\0", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ud800", "\ufffe"]
)
def test_control_characters_and_broken_surrogates_change_nothing(identify, noise):
    text = "".join(f"{word}{noise} " for word in (SENTENCES["de"] * 4).split(" "))
    assert identify(text)[0] == "de"


def test_a_long_line_costs_no_more_than_a_page(identify):
    line = (SENTENCES["fr"] + " ") * 130_000
    assert len(line) > 9_000_000
    start = time.process_time()
    assert identify(line)[0] == "fr"
    assert time.process_time() - start < 1


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(), max_size=400))
def test_any_text_gets_an_answer(text):
    code, confidence = LanguageIdentifier(LanguageConfig()).identify(text)
    assert code
    assert 0 <= confidence <= 1


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000))
def test_decoded_bytes_get_an_answer(raw):
    for text in (raw.decode("utf-8", "replace"), raw.decode("latin-1")):
        assert LanguageIdentifier(LanguageConfig()).identify(text * 3)[0]


def test_an_answer_does_not_depend_on_what_came_before():
    documents = [document(t * n, f"s/{c}{n}") for c, t in SENTENCES.items() for n in (1, 9)]
    documents += [document(text, f"s/short/{code}") for code, text in SHORT.items()]

    def answers(order):
        outcomes = identify_languages(LanguageConfig(), order)
        return {o.id: (o.language, o.scores) for o in outcomes if isinstance(o, Document)}

    mixed = random.Random(1).sample(documents, len(documents))
    assert answers(documents) == answers(mixed)
    assert answers(documents[-1:]) == {documents[-1].id: answers(mixed)[documents[-1].id]}


def test_a_conversation_is_judged_by_all_its_messages():
    turns = conversation("Translate: good morning", SENTENCES["de"] * 3)
    (outcome,) = identify_languages(LanguageConfig(), [turns])
    assert (outcome.language, outcome.group) == ("de", "instructions")


def test_a_lower_threshold_decides_more(identify):
    text = "Paginador de terminal"
    strict = LanguageIdentifier(LanguageConfig(min_confidence=0.999)).identify(text)
    assert strict[0] == UNDECIDED
    assert strict[1] == identify(text)[1]


def test_a_second_sample_smaller_than_the_first_is_refused():
    with pytest.raises(ValueError, match="large_sample_chars 200 is below sample_chars 340"):
        LanguageConfig(large_sample_chars=200)


def test_blocks_of_two_scripts_never_overlap():
    ranges = sorted((first >> 5, last >> 5) for r in RANGES.values() for first, last in r)
    for (_, last), (first, _) in pairwise(ranges):
        assert last <= first
    blocks = [
        {n for first, last in r for n in range(first >> 5, (last >> 5) + 1)}
        for r in RANGES.values()
    ]
    assert all(not one & other for one, other in combinations(blocks, 2))


@pytest.mark.parametrize(
    ("text", "script", "share"),
    [
        ("plain words", "Latn", 1.0),
        ("naïve – “déjà vu”", "Latn", 1.0),
        ("слово", "Cyrl", 1.0),
        ("中文abc", "zh", 2 / 3),
        ("東京タワー", "ja", 1.0),
        ("かな", "ja", 1.0),
        ("123 。、！", "", 0.0),
        ("", "", 0.0),
    ],
)
def test_the_main_script_is_found(text, script, share):
    found = main_script(text)
    assert found[:2] == (script, pytest.approx(share))


def test_a_spread_takes_whole_words_from_all_over_a_text():
    text = " ".join(f"w{number:04d}" for number in range(1000))
    excerpts = spread(text, 400).split("\n")
    assert len(excerpts) == 4
    assert excerpts[0].startswith("w0000")
    assert excerpts[-1].endswith("w0999")
    assert all(len(word) == 5 for excerpt in excerpts for word in excerpt.split())
    assert spread("short", 400) == "short"


def test_lines_of_code_are_left_out_and_prose_stays():
    text = (
        "Sorts a list of names.\nnames = sorted(names)\nif not names:\n    return None\n"
        "Read https://example.org/doc for more."
    )
    assert prose_lines(text).split() == [
        "Sorts",
        "a",
        "list",
        "of",
        "names.",
        "Read",
        "for",
        "more.",
    ]
    assert prose_lines("Only prose (and brackets), nothing else.").endswith("nothing else.")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a\n```\nx\n```\nb", "a\n\nb"),
        ("a\n```\nx\n````\nb", "a\n\nb"),
        ("a\n~~~\n```\n~~~\nb", "a\n\nb"),
        ("a\n```\nx\nb", "a\n```\nx\nb"),
        ("```\nx\n```", ""),
        ("a ``` b ``` c", "a ``` b ``` c"),
        ("```\n```x\ny\n```\nb", "\nb"),
        ("````\n```\nx\n```\nb", "````\n\nb"),
    ],
)
def test_fenced_blocks_are_cut_out(text, rest):
    assert without_code(text) == rest


@pytest.mark.parametrize("line", ["```a\n", "~~~\n````x\n"])
def test_fences_that_nothing_closes_cost_linear_time(line):
    text = line * (1_500_000 // len(line))
    start = time.process_time()
    without_code(text)
    assert time.process_time() - start < 3


def test_words_of_twins_are_no_words_of_each_other():
    for group in TWINS:
        tables = {code: words.split() for code, words in group.items()}
        for code, words in tables.items():
            assert len(words) == len(set(words)), code
        for (_, one), (_, other) in combinations(tables.items(), 2):
            assert not set(one) & set(other)


def test_twin_words_are_counted_once_each():
    assert twin_hits(["sila", "cuba", "sila", "ralat", "jaringan"], "id") == {"ms": 3, "id": 1}
    assert twin_hits(["the"], "en") == {}
