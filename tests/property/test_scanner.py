"""What holds of the scanner for any text: it takes it apart without loss, without raising, and in linear time."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from injector.model.references import Reference
from injector.model.template import Escape, Source, Text, Token
from injector.template.grammar import KNOWN_PREFIXES, Grammar, candidate_prefixes
from injector.template.scanner import scan

DEFAULT = Grammar(KNOWN_PREFIXES)
STARTS = [f"{prefix}://".encode() for prefix in sorted(KNOWN_PREFIXES)]
GRAMMARS = [
    DEFAULT,
    Grammar(KNOWN_PREFIXES, "#"),
    Grammar(KNOWN_PREFIXES, "://", ":"),
    Grammar(KNOWN_PREFIXES, "://", "?"),
    Grammar(KNOWN_PREFIXES, "}}", "→"),
    Grammar(frozenset({"A", "BA", "CBA", "A_1"}), "{{", "^"),
    Grammar(frozenset({"A", "AA"}), "##", "#"),
    Grammar(frozenset()),
]

fragments = st.sampled_from(
    [b"VAULT", b"VAULT://", b"AWSPARAMSTR://", b"AZAPPCONF", b"VAULT#", b"VAULT}}", b"A", b"AA", b"A##", b"BA{{",
     b"A_1", b"://", b":", b"/", b"#", b"{{", b"}}", b"{", b"}", b"[", b"]", b"[a=1]", b"[a=1,b]", b"=", b",", b"|",
     b"^", b"?", b"/?", b"\\", b" ", b"\t", b"\n", b"\r", b"\x00", b"optional=true", b"default=", b"format=raw",
     b"path", b"\xff", b"\xc3", "é→日".encode(), b"{{ VAULT://a b|k[v=1] }}", b"VAULT://p|k"]
)  # fmt: skip
near_grammar = st.lists(st.one_of(fragments, fragments, fragments, st.binary(max_size=4)), max_size=30).map(b"".join)
texts = st.one_of(near_grammar, st.binary(max_size=200))


@settings(max_examples=600, deadline=None)
@given(texts, st.sampled_from(GRAMMARS))
@pytest.mark.fault(55, "bytes outside tokens are kept")
def test_pieces_cover_any_bytes_exactly_and_every_problem_has_a_place(data, grammar):
    source = Source("f", data)
    template = scan(source, grammar)
    assert b"".join(data[piece.start : piece.end] for piece in template.pieces) == data
    assert all(piece.end > piece.start for piece in template.pieces)
    assert [piece.end for piece in template.pieces[:-1]] == [piece.start for piece in template.pieces[1:]]
    for problem in template.problems:
        assert problem.place.file == "f"
        assert 1 <= problem.place.line <= data.count(b"\n") + 1
        assert problem.place.column >= 1
        assert problem.token
        assert problem.hint


@settings(max_examples=300, deadline=None)
@given(texts, st.sampled_from(GRAMMARS))
def test_no_two_texts_touch_and_no_token_is_empty(data, grammar):
    pieces = scan(Source("f", data), grammar).pieces
    assert not any(isinstance(a, Text) and isinstance(b, Text) for a, b in pairwise(pieces))
    for token in (piece for piece in pieces if isinstance(piece, Token)):
        assert token.reference.prefix in grammar.prefixes
        assert token.reference.path
        assert token.keys != ""


@settings(max_examples=400, deadline=None)
@given(near_grammar)
def test_a_token_by_itself_is_the_same_token(data):
    for token in scan(Source("f", data), DEFAULT).tokens():
        alone = data[token.start : token.end]
        (again,) = scan(Source("f", alone), DEFAULT).tokens()
        assert (again.start, again.end) == (0, len(alone))
        assert (again.reference, again.keys, again.default) == (token.reference, token.keys, token.default)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_a_text_without_a_token_start_is_one_text(data):
    assume(not any(start in data for start in STARTS))
    assert scan(Source("f", data), DEFAULT).pieces == ((Text(0, len(data)),) if data else ())


@settings(max_examples=300, deadline=None)
@given(texts)
def test_every_token_start_is_in_a_token_an_escape_or_a_problem(data):
    template = scan(Source("f", data), DEFAULT)
    inside = [(p.start, p.end) for p in template.pieces if not isinstance(p, Text)]
    lost = sum(
        not any(begin <= at < end for begin, end in inside)
        for start in STARTS
        for at in range(len(data))
        if data.startswith(start, at)
    )
    assert (lost > 0) == (len(template.problems) > 0)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_a_known_prefix_in_the_text_ends_a_candidate(data):
    words = candidate_prefixes(data, "://")
    for prefix in KNOWN_PREFIXES:
        assert (f"{prefix}://".encode() in data) == any(word.endswith(prefix) for word in words)


# ------------------------------------------------------------------------------ documents whose tokens are known

ALPHABET = "abcXYZ019_-./é日"
words = st.text(ALPHABET, max_size=8).map(lambda text: text + "z")
prefixes = st.sampled_from(sorted(KNOWN_PREFIXES))
metadata = st.one_of(st.just(""), words.map(lambda word: f"v={word} x"), words.map(lambda word: f"a={word},b=="))


@st.composite
def plain_tokens(draw):
    prefix, path, keys, meta = draw(prefixes), draw(words), draw(st.none() | words), draw(metadata)
    text = f"{prefix}://{path}" + (f"|{keys}" if keys else "") + (f"[{meta}]" if meta else "")
    return text.encode(), (Reference(prefix, path, meta), keys)


@st.composite
def delimited_tokens(draw):
    prefix, keys, meta, blank = (
        draw(prefixes),
        draw(st.none() | words),
        draw(metadata),
        draw(st.sampled_from(["", " \t"])),
    )
    path = draw(words) + draw(st.sampled_from(["", " VAULT://x {{ y", " 'a', b: c} @", " {{ z"]))
    tail = (f"{blank}|{blank}{keys}" if keys else "") + (f"{blank}[{meta}]" if meta else "")
    return f"{{{{{blank}{prefix}://{path}{tail}{blank}}}}}".encode(), (Reference(prefix, path, meta), keys)


@st.composite
def escaped_starts(draw):
    return b"\\" + draw(st.sampled_from(STARTS)), None


def is_gap(raw):
    """No token starts in it, none that stands behind it is escaped or delimited by it."""
    return not raw.endswith(b"\\") and not raw.rstrip(b" \t").endswith(b"{") and not any(s in raw for s in STARTS)


terminators = st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"/?", *(bytes([c]) for c in b"\"'`@:?,;)}]<>&")])
gaps = st.one_of(st.just(b""), st.tuples(terminators, near_grammar).map(b"".join).filter(is_gap))
documents = st.lists(st.tuples(st.one_of(plain_tokens(), delimited_tokens(), escaped_starts()), gaps), max_size=8)


@settings(max_examples=400, deadline=None)
@given(gaps, documents, st.binary(max_size=12))
def test_replacing_by_position_gives_what_the_pieces_of_the_document_give(head, parts, value):
    data = head + b"".join(text + gap for (text, _), gap in parts)
    expected = head + b"".join((text[1:] if token is None else value) + gap for (text, token), gap in parts)
    template = scan(Source("f", data), DEFAULT)
    assert template.problems == ()
    assert [(token.reference, token.keys) for token in template.tokens()] == [token for (_, token), _ in parts if token]
    written = bytearray()
    for piece in template.pieces:
        match piece:
            case Token():
                written += value
            case Escape(start, end):
                written += data[start + 1 : end]
            case Text(start, end):
                written += data[start:end]
    assert bytes(written) == expected


# ----------------------------------------------------------------------------------------------------- linear time

NEAR = {
    "upper-case letters": b"A",
    "separators": b"://",
    "colons": b":",
    "a prefix without separator": b"AWSPARAMSTR",
    "a separator cut short": b"AWSPARAMSTR:/x",
    "a prefix cut short": b"AWSPARAMST://",
    "the last letter of a prefix": b"T://",
    "braces": b"{{ ",
    "blanks": b" ",
}
BROKEN = {
    "touching starts": b"VAULT://",
    "open metadata": b"VAULT://a[",
    "open key paths": b"VAULT://a|",
    "open braces with metadata": b"{{ VAULT://a[b=",
    "braces in braces": b"{{VAULT://a[{{ ",
    "escapes": b"\\VAULT://",
    "tokens": b"VAULT://a",
    "tokens behind blanks": b" " * 60 + b"VAULT://a",
}


@pytest.mark.parametrize(
    ("unit", "size", "tail"),
    [pytest.param(unit, 300_000, b"", id=name) for name, unit in NEAR.items()]
    + [pytest.param(unit, 10_000, b"", id=name) for name, unit in BROKEN.items()]
    + [pytest.param(b"{{ VAULT://a", 80_000, b"", id="many open braces")]
    + [pytest.param(b" ", 300_000, b"VAULT://a", id="one token behind blanks")]
    + [pytest.param(b"{{ VAULT://a", 10_000, b"}}", id="braces that close at the end")]
    + [pytest.param(b"VAULT://a[b=c ", 10_000, b"]", id="metadata that closes at the end")],
)
@pytest.mark.fault(50, "linear time")
def test_four_times_the_text_takes_about_four_times_the_time(growth, unit, size, tail):
    small, large = (Source("f", unit * (n // len(unit)) + tail) for n in (size, 4 * size))
    assert growth(partial(scan, small, DEFAULT), partial(scan, large, DEFAULT), below=8) < 8


@pytest.mark.parametrize("unit", [b"A", b"A://", b"AAAAAAAAAAAAAAAA://", b"://", b"9_"])
@pytest.mark.fault(50, "linear time")
def test_candidates_are_found_in_linear_time(growth, unit):
    small, large = (b"A:// " + unit * (size // len(unit)) for size in (15_000, 60_000))
    assert growth(partial(candidate_prefixes, small, "://"), partial(candidate_prefixes, large, "://"), below=8) < 8
