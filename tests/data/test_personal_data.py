import pytest
from documents_for_tests import GOOD_CODE, code, conversation, document
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.data.personal.config import PersonalDataConfig
from openqwen.data.personal.mask import FINDERS, find_personal_data, mask_personal_data, mask_text

ALL = {kind: f"<{kind}>" for kind in FINDERS}
ON = PersonalDataConfig(enabled=True)


def masked(text):
    return mask_text(text, ALL)[0]


def run(found, config=ON):
    (outcome,) = mask_personal_data(config, [found])
    assert isinstance(outcome, Document)
    return outcome


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to lin.wei+news@mail.corp.cn, please.", "Write to <email>, please."),
        ("邮箱lin@corp.com.cn欢迎来信", "邮箱<email>欢迎来信"),
        ("QQ：12345678@qq.com。", "QQ：<email>。"),
        ("Call +44 20 7946 0958 now", "Call <phone> now"),
        ("请拨+86-138-0013-8000或", "请拨<phone>或"),
        ("手机13912345678，微信同号", "手机<phone>，微信同号"),
        ("我的号码是139 1234 5678", "我的号码是<phone>"),
        ("mobile: 13912345678", "mobile: <phone>"),
        ("总机010-62345678转", "总机<phone>转"),
        ("Ring (415) 867-5309 or 415-867-5310.", "Ring <phone> or <phone>."),
        ("Telefon: 030 12345678", "Telefon: <phone>"),
        ("(see +49-30-5667633) or +44 (20) 7946 0958", "(see <phone>) or <phone>"),
        ("身份证11010519491231002X。", "身份证<chinese_id>。"),
        ("Visa 4556 7375 8689 9855.", "Visa <card>."),
        ("信用卡卡号4556737586899855", "信用卡卡号<card>"),
        ("SSN 536-90-4399.", "SSN <ssn>."),
        ("IBAN DE89 3704 0044 0532 0130 00 at the bank", "IBAN <iban> at the bank"),
        ("账户GB82WEST12345698765432。", "账户<iban>。"),
        ("from 93.184.216.34 at noon", "from <ip> at noon"),
        ("服务器93.184.216.34宕机", "服务器<ip>宕机"),
        ("via 2606:2800:220:1:248:1893:25c8:1946.", "via <ip>."),
    ],
)
def test_personal_data_is_replaced_also_in_text_without_gaps(text, expected):
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, root@localhost, a@host.test, me@mail.example",
        "git clone git@github.com:a/b.git, noreply@corp.com",
        "icon@2x.png and lodash@4.17.21 and y = x@self.weight",
        "ssh://lin@host.com",
        "version 10.32.45.99, 1.2.3.4 and 127.0.0.1, 192.168.1.17, 10.0.0.8",
        "192.0.2.55, 198.51.100.7 and 203.0.113.99 are examples (RFC 5737)",
        "nameserver 8.8.8.8, network 93.184.216.0/24 and 93.184.216.0",
        "2001:db8:1:2:3:4:5:6, std::vector, 12:30:45, aa:bb:cc:dd:ee:ff",
        "ISBN 978-7-111-40701-0 and 7-111-40701-9, ISSN 1234-5678",
        "2023-11-27 10:15:30, 20231127101530, 1700000000, 1700000000000",
        "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "0x13912345678 and id13912345678 and 3.13912345678 and 139123456789",
        "110105194912310021 has a wrong check digit, 110105194913310027 no such month",
        "4556 7375 8689 9856, 1234 5678 9012 3456, 4111 1111 1111 1111 and 3714-496353-98431",
        "order 4556737586899855",
        "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 078-05-1120",
        "DE89 3704 0044 0532 0130 01 and GB82 WEST",
        "call 202-555-0143 or +1 202 555 0143",
        "const N = 13912345678;",
        "@@ -1234567890,7 +1234567890,8 @@",
        "pages 100-200-3000, 10.1016/j.cell.2020.01.001",
    ],
)
def test_what_only_looks_like_personal_data_stays(text):
    assert masked(text) == text


def test_what_was_masked_is_counted_by_kind_and_nothing_is_dropped():
    found = run(document("lin@corp.cn, wei@corp.cn and +44 20 7946 0958", scores={"language": 1.0}))
    assert found.text == "<email>, <email> and <phone>"
    assert found.scores == {"language": 1.0, "masked_email": 2.0, "masked_phone": 1.0}


def test_masking_is_off_by_default():
    plain = document("lin@corp.cn")
    assert run(plain, PersonalDataConfig()) is plain


def test_each_kind_is_a_switch_and_has_its_own_placeholder():
    config = PersonalDataConfig(enabled=True, phone=False, email_text="[E]")
    assert run(document("lin@corp.cn, +44 20 7946 0958"), config).text == "[E], +44 20 7946 0958"


def test_the_messages_of_a_conversation_are_masked_with_their_text():
    found = run(conversation("我的手机是13912345678", "Write to lin@corp.cn."))
    assert [m["content"] for m in found.messages] == ["我的手机是<phone>", "Write to <email>."]
    assert found.text == "我的手机是<phone>\nWrite to <email>."
    assert found.scores == {"masked_phone": 1.0, "masked_email": 1.0}


def test_in_source_code_only_addresses_of_people_are_masked():
    text = f"# by lin@corp.cn\nHOST = '93.184.216.34'\n{GOOD_CODE}"
    assert run(code(text)).text == text.replace("lin@corp.cn", "<email>")


@given(st.text("0123456789.@-+ acgX:/手机号", max_size=80))
def test_what_is_found_is_in_order_apart_and_inside_the_text(text):
    spans = find_personal_data(text, FINDERS)
    edges = [edge for start, end, _ in spans for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= len(text) for start, end, _ in spans)


@given(st.text("0123456789.@-+ acgX:/手机号", max_size=80))
def test_a_masked_text_holds_nothing_more_to_mask(text):
    once = mask_text(text, dict.fromkeys(FINDERS, "<x>"))[0]
    assert find_personal_data(once, ["email", "chinese_id", "iban", "ssn"]) == []
