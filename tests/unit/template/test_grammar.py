"""Which prefixes and separators a grammar takes, and which words look like prefixes."""

from __future__ import annotations

import pytest

from injector.errors import SettingsError
from injector.template.grammar import KNOWN_PREFIXES, Grammar, candidate_prefixes


def test_seven_prefixes_are_known_without_a_plugin():
    assert {
        "AWSPARAMSTR", "AWSSECRETS", "AZKVSECRET", "AZTABLESTORE", "AZAPPCONF", "VAULT", "GCPSECRETS",
    } == KNOWN_PREFIXES  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "a", "Vault", "1A", "_A", "A-B", "VAULT\n", "É"])
def test_a_prefix_is_upper_case_letters_digits_and_underscores(prefix):
    with pytest.raises(SettingsError) as caught:
        Grammar(frozenset({prefix}))
    assert repr(prefix) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("prefix", ["A", "A1", "A_B", "AWS2_"])
def test_digits_and_underscores_may_follow_the_first_letter_of_a_prefix(prefix):
    assert Grammar(frozenset({prefix})).prefixes == {prefix}


@pytest.mark.parametrize(
    "separator", ["", "a", "1", "_", " ", ":/ /", "\t", "\x00", "\x7f", "\\", ":\\", "é", "\ud800"]
)
def test_a_token_separator_that_could_be_a_word_or_blank_is_refused(separator):
    with pytest.raises(SettingsError, match="token separator") as caught:
        Grammar(KNOWN_PREFIXES, separator)
    assert caught.value.hint


@pytest.mark.parametrize("separator", ["://", "#", "->", "→", "|", "((", "[", "}}", ".*"])
def test_punctuation_of_any_length_is_a_token_separator(separator):
    assert Grammar(KNOWN_PREFIXES, separator).token_separator == separator


@pytest.mark.parametrize("separator", ["", "||", "a", "1", "_", " ", "\n", "\x01", "é", "\ud800", *"[]{}/.\\=,"])
def test_a_key_separator_that_means_something_else_is_refused(separator):
    with pytest.raises(SettingsError, match="key separator") as caught:
        Grammar(KNOWN_PREFIXES, key_separator=separator)
    assert caught.value.hint


@pytest.mark.parametrize("separator", ["|", "^", ":", "?", "#", "~", "§", "→", "-", '"'])
def test_one_character_of_other_punctuation_is_a_key_separator(separator):
    assert Grammar(KNOWN_PREFIXES, key_separator=separator).key_separator == separator


def test_equal_grammars_share_their_compiled_patterns():
    assert Grammar(frozenset({"A", "B"})).patterns is Grammar(frozenset({"B", "A"})).patterns


@pytest.mark.parametrize(
    ("text", "separator", "words"),
    [
        (b"", "://", set()),
        (b"VAULT", "://", set()),
        (b"VAULT://a xVAULT://b MINE://c", "://", {"VAULT", "MINE"}),
        (b"XVAULT://a", "://", {"XVAULT"}),
        (b"1_2AB_3://a 123://b _://c", "://", {"AB_3"}),
        (b"https://a ://b B ://c", "://", set()),
        (b"A://B://C", "://", {"A", "B"}),
        (b"A#B##C", "#", {"A", "B"}),
        ("A→x \xff".encode(), "→", {"A"}),
        (b"A->B>-C", "->", {"A"}),
    ],
)
def test_candidates_are_the_upper_case_words_directly_before_a_separator(text, separator, words):
    assert candidate_prefixes(text, separator) == words
