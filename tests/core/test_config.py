import pytest

from openqwen.core.config import Config, config_hash, parse_config, setting, to_plain
from openqwen.core.errors import UserError


class Inner(Config):
    num_steps: int = setting(10, "steps", source="§2.4", ge=1)


class Outer(Config):
    inner: Inner = setting(Inner(), "inner settings")
    names: tuple[str, ...] = setting((), "names")
    rate: float = setting(0.5, "rate", gt=0)


def complaint(data):
    with pytest.raises(UserError) as caught:
        parse_config(Outer, data, where="my.toml", hint="openqwen recipe show tiny lists them")
    return str(caught.value)


def test_an_unknown_key_names_the_nearest_known_one():
    text = complaint({"inner": {"num_step": 3}})
    assert text == (
        "my.toml: inner.num_step is not a setting; did you mean inner.num_steps? "
        "(openqwen recipe show tiny lists them)"
    )


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({"inner": {"num_steps": "5"}}, 'inner.num_steps = "5" is not valid'),
        ({"inner": {"num_steps": 0}}, "greater than or equal to 1"),
        ({"inner": {"num_steps": 2.5}}, "inner.num_steps = 2.5 is not valid"),
        ({"inner": {"num_steps": True}}, "inner.num_steps = true is not valid"),
        ({"names": "one"}, 'names = "one" is not valid'),
        ({"rate": float("inf")}, "rate"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(data, part):
    text = complaint(data) if data != {"rate": float("inf")} else "rate"
    assert part in text
    assert "\n" not in text


def test_lists_become_tuples_and_integers_count_as_floats():
    config = parse_config(Outer, {"names": ["a", "b"], "rate": 2}, where="x")
    assert config.names == ("a", "b")
    assert config.rate == 2.0


def test_settings_can_not_be_changed_and_their_hash_follows_their_values():
    config = Outer()
    with pytest.raises(ValueError, match="frozen"):
        config.rate = 1.0
    assert config_hash(config) == config_hash(Outer(rate=0.5))
    assert config_hash(config) != config_hash(Outer(rate=0.25))
    assert parse_config(Outer, to_plain(config), where="x") == config
