"""What is a token and what is not: every rule of the grammar, on small texts."""

from __future__ import annotations

import pytest

from injector.errors import (
    EmptyKeyPath,
    EmptyPath,
    MetadataInvalid,
    MetadataUnclosed,
    TemplateError,
    TokenNotText,
    TokenUnclosed,
)
from injector.model.template import Escape, Source, Text, Token
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.template.problems import MAX_PROBLEMS
from injector.template.scanner import scan


def test_an_empty_text_has_no_pieces(scanned):
    assert scanned(b"").pieces == ()


def test_a_text_without_tokens_is_one_piece(scanned):
    assert scanned(b"a: 1\n\xff").pieces == (Text(0, 6),)


@pytest.mark.parametrize("prefix", sorted(KNOWN_PREFIXES))
def test_every_known_prefix_starts_a_token(found, prefix):
    assert found(f"{prefix}:///a") == [(prefix, "/a", None)]


def test_all_parts_of_a_token_are_told_apart(scanned):
    text = b"p=AWSSECRETS:///nonprod/app/db|connection.password[version=AWSCURRENT]\n"
    template = scanned(text)
    _, token, _ = template.pieces
    assert isinstance(token, Token)
    assert token.reference == ("AWSSECRETS", "/nonprod/app/db", "version=AWSCURRENT", None)
    assert token.keys == "connection.password"
    assert (token.start, token.end) == (2, len(text) - 1)


@pytest.mark.parametrize("text", ["NOPE://a", "vault://a", "VAUL://a", "VAULT:/a", "VAULT ://a", "https://a", "://"])
def test_what_is_no_known_prefix_and_separator_is_plain_text(found, text):
    assert found(text) == []


def test_a_prefix_that_a_plugin_serves_is_known_when_the_grammar_says_so(found):
    assert found("MINE_2://a NOPE://b", "MINE_2") == [("MINE_2", "a", None)]


@pytest.mark.parametrize("before", ["x", "V", "A", "G", "AWS", "_", "0", "é", "-", "=", "$", "{", "{ {", "}}"])
def test_a_token_starts_anywhere_also_inside_a_word(rendered, before):
    assert rendered(f"{before}AZAPPCONF://z") == f"{before}<z>".encode()


def test_the_longest_prefix_wins_where_one_is_the_end_of_another(found):
    assert found("MYVAULT://a VAULT://b YVAULT://c", "MYVAULT") == [
        ("MYVAULT", "a", None), ("VAULT", "b", None), ("VAULT", "c", None),
    ]  # fmt: skip


@pytest.mark.fault(50, "two tokens")
def test_touching_tokens_are_two(found):
    assert found("AWSPARAMSTR:///aAWSSECRETS:///b") == [("AWSPARAMSTR", "/a", None), ("AWSSECRETS", "/b", None)]


def test_the_next_token_ends_a_key_path(found):
    assert found("VAULT://a|kVAULT://b") == [("VAULT", "a", "k"), ("VAULT", "b", None)]


def test_an_unknown_prefix_does_not_end_a_token_but_its_colon_does(rendered):
    assert rendered("VAULT://aNOPE://b") == b"<aNOPE>://b"


@pytest.mark.parametrize("end", [*" \t\r\n\f\v\x00\x1f\x7f", *"\"'`@:?,;)}]<>&\\", "\r\n", "/?"])
def test_every_terminator_ends_a_path_and_a_key_path(found, rendered, end):
    text = f"VAULT://a/b{end}c VAULT://d|k.l{end}m"
    assert found(text) == [("VAULT", "a/b", None), ("VAULT", "d", "k.l")]
    assert rendered(text) == f"<a/b>{end}c <d>{end}m".encode()


@pytest.mark.parametrize("char", [*"#$%(*+-./=^_{~!", "é", "日", "\N{NO-BREAK SPACE}", "😀", "//"])
def test_other_characters_belong_to_the_path_also_beyond_ascii(found, char):
    assert found(f"VAULT://a{char}b") == [("VAULT", f"a{char}b", None)]


@pytest.mark.fault(50, "a whole token")
def test_the_end_of_the_file_ends_a_token(found):
    assert found("VAULT://a/") == [("VAULT", "a/", None)]


def test_the_documented_line_of_five_tokens_holds_five(rendered):
    token = "AWSPARAMSTR://x"
    text = f"u=proto://{token}|user:{token}|pass@{token}|host:{token}|port/?q={token}&r=1"
    assert rendered(text) == b"u=proto://<x>:<x>@<x>:<x>/?q=<x>&r=1"


def test_only_the_slash_directly_before_a_question_mark_is_left_out(rendered):
    assert rendered("VAULT://a//?q VAULT://a/b?q VAULT://a/|k/?q") == b"<a/>/?q <a/b>?q <a/>/?q"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=AWSPARAMSTR:///a\nb=AWSPARAMSTR:///ab\n", b"a=</a>\nb=</ab>\n"),
        ("a=VAULT://a\tb=VAULT://b\r\nc=VAULT://c\r\n", b"a=<a>\tb=<b>\r\nc=<c>\r\n"),
        ("VAULT:///a,VAULT:///b", b"</a>,</b>"),
        ("(VAULT:///a)", b"(</a>)"),
        ("<a>VAULT:///a</a>", b"<a></a></a>"),
        ("VAULT:///a&x", b"</a>&x"),
        ("f(VAULT://a) [VAULT://a, VAULT://b] ${VAULT://c}", b"f(<a>) [<a>, <b>] ${<c>}"),
        ("VAZAPPCONF://z", b"V<z>"),
        ("VAULT://a[v=1] VAULT://a", b"<a> <a>"),
    ],
)
def test_texts_that_configmanager_gets_wrong_are_right_here(rendered, text, expected):
    assert rendered(text) == expected


def test_the_plain_and_the_metadata_form_of_one_path_are_two_references(found):
    assert found("VAULT://a[v=1] VAULT://a") == [("VAULT", "a", None, "v=1"), ("VAULT", "a", None)]


def test_only_the_first_key_separator_splits(found):
    assert found("VAULT://a|b|c|") == [("VAULT", "a", "b|c|")]


def test_keys_are_not_read_after_metadata(rendered):
    assert rendered("VAULT://a[v=1]|k") == b"<a>|k"


# ------------------------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize(
    ("token", "key", "text", "expected"),
    [
        ("#", "|", "VAULT#/a|k VAULT:///b x#y", [("VAULT", "/a", "k")]),
        ("#", "|", "VAULT#aVAULT#b#c", [("VAULT", "a", None), ("VAULT", "b#c", None)]),
        ("##", "|", "VAULT###a VAULT#b", [("VAULT", "#a", None)]),
        ("://", "^", "VAULT://a^k VAULT://b|c", [("VAULT", "a", "k"), ("VAULT", "b|c", None)]),
        ("://", ":", "VAULT:///a:k:l,VAULT://b:kVAULT://c",
         [("VAULT", "/a", "k:l"), ("VAULT", "b", "k"), ("VAULT", "c", None)]),
        ("://", "?", "VAULT://a/?k/?l", [("VAULT", "a/", "k/?l")]),
        ("://", "→", "VAULT://é→ü→k|", [("VAULT", "é", "ü→k|")]),
        ("→", "|", "VAULT→a|k", [("VAULT", "a", "k")]),
        ("-->", "|", "VAULT-->aVAULT-->b VAULT->c", [("VAULT", "a", None), ("VAULT", "b", None)]),
        ("#", "#", "VAULT#a#k", [("VAULT", "a", "k")]),
        ("{{", "|", "VAULT{{VAULT2{{a", [("VAULT", "VAULT2{{a", None)]),
        ("(", "|", "{{ VAULT(a b|k }}", [("VAULT", "a b", "k")]),
    ],
)  # fmt: skip
def test_other_separators_take_the_place_of_the_default_ones(found, token, key, text, expected):
    assert found(text, token=token, key=key) == expected


def test_a_separator_that_looks_like_braces_opens_nothing(scanned):
    template = scanned("VAULT{{VAULT{{a", token="{{")
    assert [(problem.code, problem.token) for problem in template.problems] == [("token-path-empty", "VAULT{{")]
    assert [(token.start, token.reference.path) for token in template.tokens()] == [(7, "a")]


def test_a_grammar_without_prefixes_finds_nothing():
    assert scan(Source("f", b"VAULT://a"), Grammar(frozenset())).pieces == (Text(0, 9),)


# ---------------------------------------------------------------------------------------------------------- escapes


def test_a_backslash_before_a_prefix_keeps_the_token_from_being_one(scanned, rendered):
    assert scanned(rb"a\VAULT://x|k[").pieces == (Text(0, 1), Escape(1, 10), Text(10, 14))
    assert rendered(rb"a\VAULT://x|k[") == b"aVAULT://x|k["


def test_a_token_right_after_an_escape_is_a_token(rendered):
    assert rendered(rb"\VAULT://VAULT://x") == b"VAULT://<x>"


def test_an_escape_ends_the_token_before_it(rendered):
    assert rendered(rb"VAULT://a\VAULT://b") == b"<a>VAULT://b"


def test_a_backslash_inside_braces_escapes_the_delimited_form(rendered):
    assert rendered(rb"{{ \VAULT://a b }}") == b"{{ VAULT://a b }}"


def test_a_backslash_before_braces_or_elsewhere_is_text(rendered):
    assert rendered(rb"\{{ VAULT://a }} \ VAULT://b \NOPE://c") == rb"\<a> \ <b> \NOPE://c"


def test_the_escape_of_two_backslashes_is_the_second_one(rendered):
    assert rendered(rb"\\VAULT://a") == rb"\VAULT://a"


# --------------------------------------------------------------------------------------------------- delimited form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{VAULT://a}}", [("VAULT", "a", None)]),
        ("{{ \t VAULT://a b, c: 'd' / é\t }}", [("VAULT", "a b, c: 'd' / é", None)]),
        ("{{ VAULT://a | k l }}", [("VAULT", "a", "k l")]),
        ("{{ VAULT://a |k [v=1,w= x y ] }}", [("VAULT", "a", "k", "v=1,w= x y ")]),
        ("{{ VAULT://a|b|c }}", [("VAULT", "a", "b|c")]),
        ("{{ VAULT://a } b { c }}", [("VAULT", "a } b { c", None)]),
        ("{{ VAULT://a }}{{ VAULT://b }}", [("VAULT", "a", None), ("VAULT", "b", None)]),
        ("{{ VAULT://a VAULT://b {{ VAULT://c }} VAULT://d", [("VAULT", "a VAULT://b {{ VAULT://c", None),
                                                               ("VAULT", "d", None)]),
        ("{{ VAULT://a[default=AWSSECRETS://b,v=1] }}", [("VAULT", "a", None, "v=1")]),
        ("VAULT://a{{VAULT://b}}", [("VAULT", "a", None), ("VAULT", "b", None)]),
        ("{{ printf VAULT://a }}", [("VAULT", "a", None)]),
        ("{ { VAULT://a }}", [("VAULT", "a", None)]),
        ("{{\nVAULT://a\n}}", [("VAULT", "a", None)]),
    ],
)  # fmt: skip
def test_the_delimited_form_takes_what_a_plain_path_cannot_hold(found, text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x{{ VAULT://a }}y", b"x<a>y"),
        ("{{{ VAULT://a }}}", b"{<a>}"),
        ("{{ VAULT://a|k[v=1] \t}}}}", b"<a>}}"),
        ("{{" + " " * 5000 + "VAULT://a b}}", b"<a b>"),
        (" " * 5000 + "VAULT://a b}}", b" " * 5000 + b"<a> b}}"),
        ("{{ .Values.x }} {% y %} {{ z", b"{{ .Values.x }} {% y %} {{ z"),
        ('{{ "VAULT://a" }}', b'{{ "<a>" }}'),
    ],
)
def test_the_whole_of_the_delimited_form_is_replaced_and_other_braces_stay(rendered, text, expected):
    assert rendered(text) == expected


# --------------------------------------------------------------------------------------------------------- metadata


@pytest.mark.parametrize("text", ["v=1", " v = 1 , w=", "v=a=b", "v=[", "v=é 'x' @:?;", "v=1|k", "v=<a>&b"])
def test_metadata_goes_to_the_plugin_exactly_as_it_was_written(found, text):
    assert found(f"VAULT://a|k[{text}]") == [("VAULT", "a", "k", text)]


def test_the_injectors_own_names_are_taken_out_of_the_metadata(scanned):
    template = scanned("VAULT://a[optional=true,v=1,default= x = y ,connection= prod ,w=2,format=raw]")
    (token,) = template.tokens()
    assert template.problems == ()
    assert token.reference == ("VAULT", "a", "v=1,w=2", "prod")
    assert (token.optional, token.default, token.raw) == (True, " x = y ", True)


def test_metadata_of_own_names_only_leaves_none_for_the_plugin(scanned):
    (token,) = scanned("VAULT://a[ optional = false , default=]").tokens()
    assert token.reference == ("VAULT", "a", "", None)
    assert (token.optional, token.default, token.raw) == (False, "", False)


def test_blanks_around_an_own_name_do_not_make_another_reference(scanned):
    first, second = scanned("VAULT://a[optional=true, v=1] VAULT://a[v=1]").tokens()
    assert first.reference == second.reference


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "a=1,", ",a=1", "a=1,b", "=1", " =1", "a=1,a=2", "a=1, a =2", "optional=yes", "optional=",
     "format=json", "connection=", "connection= ", "optional=true,optional=true", "a=\t", "a=\x00", "0"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["VAULT://a[{}]", "{{{{ VAULT://a|k[{}] }}}}"])
def test_metadata_that_is_no_list_of_pairs_is_an_error(scanned, text, form):
    template = scanned(form.format(text) + " VAULT://b")
    (problem,) = template.problems
    assert type(problem) is MetadataInvalid
    assert problem.hint
    assert [token.reference.path for token in template.tokens()] == ["b"]


def test_a_default_is_not_repeated_in_a_message(scanned):
    (problem,) = scanned("VAULT://a[default=hunter2,optional=hunter2]").problems
    assert "hunter2" not in problem.message + (problem.hint or "")


@pytest.mark.parametrize("after", ["", "\n]", "\r\n]", " VAULT://b]", "{{ VAULT://b }}]", "\\VAULT://b]"])
def test_metadata_that_is_not_closed_on_its_line_before_the_next_token_is_an_error(scanned, after):
    template = scanned("x VAULT://a[v=1" + after)
    (problem,) = template.problems
    assert type(problem) is MetadataUnclosed
    assert (problem.place.line, problem.place.column, problem.token) == (
        1,
        3,
        "VAULT://a[v=1" + " " * (after[:1] == " "),
    )
    assert [token.reference.path for token in template.tokens()] == (
        ["b"] if "b" in after and "\\" not in after else []
    )


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "kind", "token"),
    [
        ("VAULT://", EmptyPath, "VAULT://"),
        ("VAULT:// x", EmptyPath, "VAULT://"),
        ("VAULT://|k", EmptyPath, "VAULT://|k"),
        ("VAULT://[v=1]", EmptyPath, "VAULT://[v=1]"),
        ("VAULT:///?", EmptyPath, "VAULT://"),
        ("VAULT://?", EmptyPath, "VAULT://"),
        ("VAULT://VAULT://", EmptyPath, "VAULT://"),
        ("{{ VAULT:// \t}}", EmptyPath, "{{ VAULT://  }}"),
        ("{{ VAULT:// | k }}", EmptyPath, "{{ VAULT:// | k }}"),
        ("VAULT:///a|", EmptyKeyPath, "VAULT:///a|"),
        ("VAULT:///a|,", EmptyKeyPath, "VAULT:///a|"),
        ("VAULT:///a|[v=1]", EmptyKeyPath, "VAULT:///a|[v=1]"),
        ("VAULT:///a|/?", EmptyKeyPath, "VAULT:///a|"),
        ("{{ VAULT:///a | }}", EmptyKeyPath, "{{ VAULT:///a | }}"),
        ("{{ VAULT://a", TokenUnclosed, "{{ VAULT://a"),
        ("{{ VAULT://a }\n}}", TokenUnclosed, "{{ VAULT://a }"),
        ("{{ VAULT://a\r}}", TokenUnclosed, "{{ VAULT://a"),
        ("{{ VAULT://a[v=1]", TokenUnclosed, "{{ VAULT://a[v=1]"),
        ("{{ VAULT://a[v=1 }}]", MetadataUnclosed, "{{ VAULT://a[v=1 }}"),
        ("{{ VAULT://a[v=1] x }}", MetadataInvalid, "{{ VAULT://a[v=1] x }}"),
        ("VAULT://a\xff".encode("latin-1"), TokenNotText, "VAULT://a\N{REPLACEMENT CHARACTER}"),
        (b"VAULT://a[v=\xc3]", TokenNotText, "VAULT://a[v=\N{REPLACEMENT CHARACTER}]"),
        (b"{{ VAULT://\xe9 }}", TokenNotText, "{{ VAULT://\N{REPLACEMENT CHARACTER} }}"),
    ],
)  # fmt: skip
def test_every_kind_of_broken_token_is_told_with_its_code_place_and_text(scanned, text, kind, token):
    raw = text.encode() if isinstance(text, str) else text
    template = scanned(b"\n\xc3\xa9 " + raw)
    problem = template.problems[0]
    assert type(problem) is kind
    assert (str(problem.place), problem.token) == ("app.conf:2:3", token)
    assert problem.hint
    assert list(template.tokens()) == []


def test_bytes_that_are_not_text_do_no_harm_outside_tokens(found):
    assert found(b"\xff\xfe VAULT://a\n\xe9\x00 VAULT://b") == [("VAULT", "a", None), ("VAULT", "b", None)]


@pytest.mark.fault(50, "an error with its place; the tokens behind it are found")
def test_an_unclosed_token_does_not_hide_the_tokens_after_it(scanned):
    template = scanned("{{ VAULT://a VAULT://b|k, {{ VAULT://c\nVAULT://d")
    assert [str(problem.place) for problem in template.problems] == ["app.conf:1:1", "app.conf:1:27"]
    assert [token.reference.path for token in template.tokens()] == ["b", "d"]


def test_columns_count_characters_and_lines_count_line_feeds(scanned):
    (problem,) = scanned("a\r\n\r\nüö日 \t😀VAULT://|k").problems
    assert (problem.place.line, problem.place.column) == (3, 7)
    assert problem.place.excerpt[problem.place.caret :] == "VAULT://|k"


def test_all_errors_are_told_at_once_in_the_order_of_the_text(scanned):
    template = scanned("VAULT://\nVAULT://a|\nVAULT://a[\nVAULT://ok\n{{ VAULT://a\nVAULT://a[b]")
    assert [problem.code for problem in template.problems] == [
        "token-path-empty", "token-key-path-empty", "token-metadata-unclosed", "token-unclosed",
        "token-metadata-invalid",
    ]  # fmt: skip
    assert [problem.place.line for problem in template.problems] == [1, 2, 3, 5, 6]


def test_beyond_the_limit_errors_are_counted_and_said_to_be_there(scanned):
    template = scanned("VAULT:// \n" * (MAX_PROBLEMS + 7))
    *told, last = template.problems
    assert len(told) == MAX_PROBLEMS
    assert type(last) is TemplateError
    assert last.message.startswith("7 more problems")
    assert last.place.line == MAX_PROBLEMS + 1


def test_just_as_many_errors_as_the_limit_are_all_told(scanned):
    assert {type(problem) for problem in scanned("VAULT:// \n" * MAX_PROBLEMS).problems} == {EmptyPath}


def test_the_text_of_a_token_without_end_is_cut(scanned):
    (problem,) = scanned("VAULT://a[" + "x" * 100_000).problems
    assert problem.token.endswith("…")
    assert len(problem.token) < 300


def test_a_broken_token_stays_in_the_pieces_as_text(scanned):
    assert scanned("aVAULT://b|,VAULT://c[").pieces == (Text(0, 22),)
