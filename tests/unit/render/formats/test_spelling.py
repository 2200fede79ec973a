"""What is written where, by example; that it is read back is tested elsewhere."""

from __future__ import annotations

import pytest

from injector.errors import InjectorError, ValueNotFound
from injector.model.policy import Escaping, FileFormat, Form, MissingPolicy, OnMissing
from injector.model.references import Reference, Value
from injector.model.secret import Secret
from injector.model.template import Source
from injector.render.formats.choice import form_for, format_of
from injector.render.renderer import Rendered, Renderer
from injector.template.grammar import Grammar
from injector.template.scanner import scan

TOKEN = "{{ T:///a }}"


def fitted(
    file_format: str, text: str, value: str | bytes | InjectorError, policy: MissingPolicy | None = None, **form: bool
) -> Rendered:
    """*text* with the value for every `@@`."""
    known = (
        value
        if isinstance(value, InjectorError)
        else Value(Secret(value.encode() if isinstance(value, str) else value))
    )
    template = scan(Source("f", text.replace("@@", TOKEN).encode()), Grammar(frozenset({"T"})))
    assert template.problems == ()
    chosen = Form(FileFormat(file_format), **form)  # type: ignore[arg-type]
    return Renderer({Reference("T", "/a"): known}).render(template, policy or MissingPolicy(), chosen)


def written(file_format: str, text: str, value: str) -> str:
    result = fitted(file_format, text, value)
    assert result.problems == ()
    return result.data.reveal().decode()


@pytest.mark.parametrize(
    ("file_format", "template", "value", "expected"),
    [
        ("json", '{"port": @@}', "5432", '{"port": 5432}'),
        ("json", '{"port": "@@"}', "5432", '{"port": "5432"}'),
        ("json", '{"port": @@}', "05432", '{"port": "05432"}'),
        ("json", '{"port": @@}', "5432\n", '{"port": "5432\\n"}'),
        ("json", '{"a": @@}', '"text"', '{"a": "\\"text\\""}'),
        ("json", '{"a": @@}', '{"b": 1.10}\n', '{"a": {"b": 1.10}\n}'),
        ("json", "\ufeff[@@]", "é", '\ufeff["é"]'),
        ("yaml", "port: @@ # the port", "5432", "port: 5432 # the port"),
        ("yaml", "a: @@", "yes", 'a: "yes"'),
        ("yaml", "a: @@", "012", 'a: "012"'),
        ("yaml", "a: @@", "", 'a: ""'),
        ("yaml", "a: @@", "10.0.0.7", "a: 10.0.0.7"),
        ("yaml", "a: @@", '{"b": [1e5, "x"]}', 'a: {"b": [1.0e+5, "x"]}'),
        ("yaml", "url: jdbc:pg://@@/db", "a b #c", 'url: "jdbc:pg://a b #c/db"'),
        ("yaml", "url: jdbc:pg://@@:@@/db", "h", "url: jdbc:pg://h:h/db"),
        ("yaml", "a: 'it''s @@'", "it's", "a: 'it''s it''s'"),
        ("yaml", "a: '@@'", "x\ny", 'a: "x\\ny"'),
        ("yaml", "a: |\n  x @@\nb: 1\n", "1\n2", "a: |\n  x 1\n  2\nb: 1\n"),
        ("yaml", "a: |\n  @@\nb: 1\n", "key\n", "a: |+\n  key\n\nb: 1\n"),
        ("yaml", "a: |-\n  @@\nb: 1\n", "key\n", "a: |\n  key\nb: 1\n"),
        ("yaml", "a: |\n  @@\nb: 1\n", " indented", 'a: " indented\\n"\nb: 1\n'),
        ("yaml", "a: |2\n  @@\nb: 1\n", " indented", "a: |2\n   indented\nb: 1\n"),
        ("yaml", "a: >-\n  x\n  @@\n", "word", "a: >-\n  x\n  word\n"),
        ("yaml", "# @@\na: 1\n", "x\ny: 2", "# x\\ny: 2\na: 1\n"),
        ("yaml", "a: [@@, b]", "x, y", 'a: ["x, y", b]'),
        ("yaml", "--- !t &x @@\n", "a: b", '--- !t &x "a: b"\n'),
        ("toml", "a = @@", "5432", "a = 5432"),
        ("toml", "a = @@", "true", "a = true"),
        ("toml", "a = @@", "null", 'a = "null"'),
        ("toml", "a = @@", "9223372036854775808", 'a = "9223372036854775808"'),
        ("toml", "a = 'x@@'", "it's", 'a = "xit\'s"'),
        ("toml", "@@.b = 1", "a.c", '"a.c".b = 1'),
        ("properties", "a=@@", " é\\\n", "a=\\ \\u00e9\\\\\\n"),
        ("properties", "a=@@", "😀", "a=\\ud83d\\ude00"),
        ("properties", "@@=1", "a b=c", "a\\ b\\=c=1"),
        ("dotenv", "A=@@", "abc/d:1", "A=abc/d:1"),
        ("dotenv", "A=@@", "a b", "A='a b'"),
        ("dotenv", "A=@@", "it's", 'A="it\'s"'),
        ("docker-env", "A=@@", " 'a b' ", "A= 'a b' "),
        ("systemd-env", "A=@@", "a\n", "A='a\n'"),
        ("kubelet-env", "A=@@", "a", "A='a'"),
        ("xml", "<a b='@@'>@@</a>", "<'&\n", "<a b='&lt;&apos;&amp;&#10;'>&lt;'&amp;\n</a>"),
        ("xml", "<a><![CDATA[@@]]></a>", "]]>", "<a><![CDATA[]]><![CDATA[]]]]><![CDATA[>]]></a>"),
        ("shell", 'A=@@ B=@@x C="@@"', "it's $x", "A='it'\\''s $x' B='it'\\''s $x'x C=\"it's \\$x\""),
        ("shell", "if @@; then", "if", "if 'if'; then"),
    ],
)
def test_values_are_spelled_for_their_place(file_format: str, template: str, value: str, expected: str) -> None:
    assert written(file_format, template, value) == expected


@pytest.mark.parametrize(
    ("file_format", "template", "value", "code", "place"),
    [
        ("json", '{"a": x@@}', "1", "template-not-in-format", "f:1:8"),
        ("json", '{"a": @@, // c\n}', "1", "template-not-in-format", "f:1:21"),
        ("json", '{"a": 1, "@@": 2}', "a", "check-failed", "f:1:11"),
        ("yaml", "a: &@@ 1", "x", "template-not-in-format", "f:1:5"),
        ("yaml", "a: *@@", "x", "template-not-in-format", "f:1:5"),
        ("yaml", "a: 1\n@@: 2", "a", "check-failed", "f:2:1"),
        ("yaml", "@@: 2", "k" * 2000, "value-unfit", "f:1:1"),
        ("toml", "a = 1@@", "2", "template-not-in-format", "f:1:6"),
        ("toml", "a = 1\n@@ = 2", "a", "check-failed", "f:2:1"),
        ("properties", "a=\\u12@@", "34", "template-not-in-format", "f:1:3"),
        ("dotenv", "@@\n", "A=1", "template-not-in-format", "f:1:1"),
        ("dotenv", "A=@@", "${x}", "value-unfit", "f:1:3"),
        ("dotenv", "@@=1", "a b", "value-unfit", "f:1:1"),
        ("docker-env", "A=@@", "x\ny", "value-unfit", "f:1:3"),
        ("kubelet-env", "A=@@", "it's", "value-unfit", "f:1:3"),
        ("ini", "[a]\nb=@@", "%(c)s", "value-unfit", "f:2:3"),
        ("ini", "[@@]\n", "a]", "value-unfit", "f:1:2"),
        ("xml", "<@@/>", "a", "template-not-in-format", "f:1:2"),
        ("xml", "<a>@@</a>", "\x01", "value-unfit", "f:1:4"),
        ("xml", "<!DOCTYPE a [<!ENTITY x 'y'>]>\n<a>@@</a>", "b", "template-not-in-format", "f:1:25"),
        ("shell", "cat <<E\n@@\nE\n", "x", "template-not-in-format", "f:2:1"),
        ("shell", "a=`b @@`", "x", "template-not-in-format", "f:1:6"),
        ("shell", 'a="${b:-"}"} @@"', "x", "template-not-in-format", "f:1:14"),
        ("shell", "a=$@@", "'x", "template-not-in-format", "f:1:4"),
        ("shell", 'a="$@@"', "(id)", "template-not-in-format", "f:1:5"),
        ("dotenv", "A=$@@", "HOME", "template-not-in-format", "f:1:4"),
        ("dotenv", 'A="${@@}"', "HOME", "template-not-in-format", "f:1:6"),
        ("properties", "a=b\\@@", "n", "template-not-in-format", "f:1:5"),
        ("shell", "@@=1", "x", "template-not-in-format", "f:1:1"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(
    file_format: str, template: str, value: str, code: str, place: str
) -> None:
    result = fitted(file_format, template, value)
    assert [(problem.code, str(problem.place)) for problem in result.problems[:1]] == [(code, place)]
    assert result.data.reveal() == b""


def test_a_raw_value_is_a_part_of_the_template_and_the_others_are_spelled() -> None:
    text = "{{ T:///a[format=raw] }}\nb: {{ T:///a }}\n"
    template = scan(Source("f", text.encode()), Grammar(frozenset({"T"})))
    values = {Reference("T", "/a"): Value(Secret(b"a: 1"))}
    form = Form(FileFormat.YAML)
    assert Renderer(values).render(template, MissingPolicy(), form).data.reveal() == b'a: 1\nb: "a: 1"\n'


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (MissingPolicy(OnMissing.EMPTY), 'a: ""'),
        (MissingPolicy(OnMissing.DEFAULT, "x: y"), 'a: "x: y"'),
        (MissingPolicy(OnMissing.KEEP), f'a: "{TOKEN}"'),
    ],
)
def test_what_stands_in_for_a_missing_value_is_spelled_like_one(policy: MissingPolicy, expected: str) -> None:
    assert fitted("yaml", "a: @@", ValueNotFound("no"), policy).data.reveal().decode() == expected


def test_a_raw_value_that_looks_like_a_word_of_ours_is_not_taken_for_one() -> None:
    template = scan(Source("f", b"a: Z{{ T:///r[format=raw] }}\nb: {{ T:///a }}\n"), Grammar(frozenset({"T"})))
    for raw in (b"x00000000Z", b"xx00000000Z", b"xxx00000000Z"):
        values = {Reference("T", "/r"): Value(Secret(raw)), Reference("T", "/a"): Value(Secret(b"v"))}
        result = Renderer(values).render(template, MissingPolicy(), Form(FileFormat.YAML))
        assert result.data.reveal() == b"a: Z" + raw + b"\nb: v\n"


def test_an_escaped_token_is_text_of_the_template() -> None:
    assert written("yaml", "a: \\T:///b\nc: @@", "#") == 'a: T:///b\nc: "#"'


@pytest.mark.fault(55, "ISO-8859-1 .properties keep their bytes; other formats say where they are not UTF-8")
def test_templates_that_are_not_utf_8() -> None:
    template = scan(Source("f", b"# \xe9\na=T:///a\n"), Grammar(frozenset({"T"})))
    renderer = Renderer({Reference("T", "/a"): Value(Secret("€".encode()))})
    assert (
        renderer.render(template, MissingPolicy(), Form(FileFormat.PROPERTIES)).data.reveal() == b"# \xe9\na=\\u20ac\n"
    )
    (problem,) = renderer.render(template, MissingPolicy(), Form(FileFormat.INI)).problems
    assert (problem.code, str(problem.place)) == ("template-not-in-format", "f:1:3")


def test_raw_files_take_any_bytes() -> None:
    result = fitted("json", "x @@", b"\xff", escape=Escaping.RAW)  # type: ignore[arg-type]
    assert result.data.reveal() == b"x \xff"


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a/b.json", "json"),
        ("a.YML", "yaml"),
        ("a.yaml.tmpl", "yaml"),
        (".env", "dotenv"),
        ("x/.env.local", "dotenv"),
        ("prod.env", "dotenv"),
        ("a.conf", "plain"),
        ("a.cfg", "plain"),
        ("json", "plain"),
        ("a.sh", "shell"),
        ("a.xml/b", "plain"),
    ],
)
def test_the_extension_says_the_format(name: str, file_format: str) -> None:
    assert format_of(name) == file_format
    assert form_for(name, FileFormat.TOML).format is FileFormat.TOML
