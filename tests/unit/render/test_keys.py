"""The key lookup of design/tokens.md: one match, at any depth or from the root, digit for digit."""

from __future__ import annotations

import json

import pytest

from injector.errors import InvalidReference, KeyAmbiguous, KeyNotFound, NotStructured
from injector.model.references import DocumentFormat, Value
from injector.model.secret import Secret
from injector.render.keys import Document


def document(text: str | bytes, kind: DocumentFormat = DocumentFormat.JSON) -> Document:
    return Document(Value(Secret(text.encode() if isinstance(text, str) else text), kind))


SHOP = json.dumps({"db": {"user": "shop", "ports": [5432, 5433]}, "flat.key.name": "dotted", "on": True, "none": None})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("user", "shop"),
        ("db.user", "shop"),
        ("$.db.user", "shop"),
        ("ports", "[5432,5433]"),
        ("ports.1", "5433"),
        ("$.db.ports.0", "5432"),
        ("on", "true"),
        ("none", "null"),
        ("flat.key.name", "dotted"),
        ("$.flat.key.name", "dotted"),
        ("$..user", "shop"),
        ("$.*.user", "shop"),
        ("db", '{"user":"shop","ports":[5432,5433]}'),
    ],
)
def test_the_one_match_is_found(keys: str, expected: str) -> None:
    assert document(SHOP).select(keys).decode() == expected


@pytest.mark.parametrize(
    "number", ["0", "-0", "1.10", "12345678901234567890.123456789", "9" * 5000, "0.1", "100000000000000000000"]
)
@pytest.mark.fault(13, "numbers as they were sent, digit for digit")
def test_numbers_keep_every_digit(number: str) -> None:
    assert document(f'{{"n": {number}}}').select("n").decode() == number


def test_a_number_with_an_exponent_keeps_its_value() -> None:
    assert float(document('{"n": 1.5e300}').select("n")) == 1.5e300


def test_non_ascii_text_is_kept_as_it_is() -> None:
    assert document('{"k": {"ü": "ß\\u20ac"}}').select("k").decode() == '{"ü":"ß€"}'


def test_a_text_of_digits_is_not_made_a_number() -> None:
    assert document('{"pin": "0012"}').select("pin") == b"0012"


@pytest.mark.parametrize("keys", ["nope", "db.nope", "$.user", "user.deeper", "ports.7", "ports.-1", "$.db.ports.x"])
def test_no_match_is_an_error_of_its_own(keys: str) -> None:
    with pytest.raises(KeyNotFound, match="has no key") as caught:
        document(SHOP).select(keys)
    assert caught.value.exit_code == 4


def test_a_near_name_is_suggested_and_no_value_is() -> None:
    with pytest.raises(KeyNotFound) as caught:
        document('{"password": "hunter2-canary"}').select("pasword")
    assert caught.value.hint == "did you mean `password` instead of `pasword`?"
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.fault(14, "more than one match is an error with the way out")
def test_more_than_one_match_is_an_error_that_shows_the_way_out() -> None:
    with pytest.raises(KeyAmbiguous, match="matches 2 places") as caught:
        document('{"user": "a", "x": {"user": "b"}}').select("user")
    assert "$.user" in (caught.value.hint or "")
    assert document('{"user": "a", "x": {"user": "b"}}').select("$.user") == b"a"


@pytest.mark.parametrize("keys", ["a..", "$..[", ".a", "a.", "$."])
@pytest.mark.fault(15, "a refusal that names the key path")
def test_what_is_no_key_path_is_refused(keys: str) -> None:
    with pytest.raises(InvalidReference, match="is not a key path"):
        document(SHOP).select(keys)


@pytest.mark.fault(13, "NaN is no JSON; of equal names the last one counts")
@pytest.mark.parametrize(
    ("text", "expected"), [('{"n": 1, "n": 2}', b"2"), ('{"n": 9007199254740993}', b"9007199254740993")]
)
def test_odd_members_are_what_they_say(text: str, expected: bytes) -> None:
    assert document(text).select("n") == expected


@pytest.mark.fault(13, "numbers as they were sent, digit for digit")
def test_an_int_of_a_million_digits_and_a_float_beyond_all_floats_are_numbers() -> None:
    assert document('{"n": ' + "7" * 1_000_000 + "}").select("n") == b"7" * 1_000_000
    assert document('{"n": 1e400}').select("n") == b"1E+400"


@pytest.mark.fault(14, "a count of the matches, soon")
def test_a_key_that_matches_a_hundred_thousand_places_is_told_with_their_number() -> None:
    doc = document(json.dumps([{"k": {"k": n}, f"other{n}": n} for n in range(50_000)]))
    with pytest.raises(KeyAmbiguous, match="matches 100000 places"):
        doc.select("k")
    assert doc.select("other77") == b"77"


@pytest.mark.fault(15, "an error: each look at any depth multiplies the work, and few are allowed")
@pytest.mark.parametrize(
    "keys", ["$" + "..*" * 10 + ".nope", "a" + "..b" * 1000, "a" + ".." * 1000 + "b", "$" * 10_000]
)
def test_a_key_path_made_to_take_long_is_refused_or_not_found(keys: str) -> None:
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"k": deep}
    with pytest.raises((InvalidReference, KeyNotFound)) as caught:
        document(json.dumps(deep)).select(keys)
    assert len(caught.value.message) < 200


@pytest.mark.fault(15, "an error: each look at any depth multiplies the work, and few are allowed")
def test_three_looks_at_any_depth_are_allowed() -> None:
    assert document('{"x": {"a": {"y": {"b": {"z": {"c": 1}}}}}}').select("$..a..b..c") == b"1"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "",
        "{",
        '{"a": NaN}',
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        '{"a": 1e99999999999999999999}',
        "\xff",
        b"\xff\xfe",
        "{'a': 1}",
    ],
)
@pytest.mark.fault(12, "an error of that token that quotes nothing")
def test_what_is_not_json_is_an_error_of_its_own_and_tells_nothing(text: str | bytes) -> None:
    with pytest.raises(NotStructured, match=r"not JSON|not text") as caught:
        document(text)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("text", ['"just text"', "12", "true", "null"])
def test_json_without_members_has_no_keys(text: str) -> None:
    with pytest.raises(NotStructured, match="without keys"):
        document(text).select("a")


def test_yaml_scalars_are_read_as_the_core_schema_says() -> None:
    text = "a: 012\nb: 12:30\nc: 2024-01-01\nd: yes\ne: true\nf: ~\ng: 1.50\nh: {1: x}\n"
    doc = document(text, DocumentFormat.YAML)
    found = {key: doc.select(key).decode() for key in "abcdefgh"}
    assert list(found.values()) == ["012", "12:30", "2024-01-01", "yes", "true", "null", "1.50", '{"1":"x"}']


def test_yaml_that_is_broken_does_not_print_its_line() -> None:
    with pytest.raises(NotStructured) as caught:
        document("password: 'canary-4711\n  x: [", DocumentFormat.YAML)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_yaml_bomb_ends_in_an_error_and_not_in_the_end_of_memory() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(NotStructured, match="nodes"):
        document(bomb, DocumentFormat.YAML).select("anything")


@pytest.mark.fault(12, "for YAML, too")
def test_yaml_nested_thirty_thousand_deep_is_an_error_and_does_not_end_the_process() -> None:
    with pytest.raises(NotStructured, match="nested too deeply"):
        document("a: " + "[" * 30_000, DocumentFormat.YAML)


def test_dotenv_is_read_as_dotenv() -> None:
    doc = document("# c\nexport A='x y'\nB=1#2\nEMPTY=\nQ=\"a\\nb\"\n", DocumentFormat.DOTENV)
    assert [doc.select(key) for key in ("A", "B", "EMPTY", "Q")] == [b"x y", b"1#2", b"", b"a\nb"]


@pytest.mark.fault(14, "lookups in linear work")
def test_ten_thousand_keys_of_one_value_are_looked_up_in_linear_work() -> None:
    names = [f"key{n}" for n in range(10_000)]
    doc = document(json.dumps({"all": {name: name.upper() for name in names}}))
    assert [doc.select(name).decode() for name in names] == [name.upper() for name in names]
