"""A value that never prints itself."""

from __future__ import annotations

from typing import NoReturn, final


@final
class Secret:
    """
    Bytes of a secret. `repr`, `str` and `format` give `***`; only `reveal()` gives the bytes.

    Two secrets are equal when their bytes are, compared in constant time. A secret cannot be pickled, hashed or
    iterated, so that it does not end up in a cache key or a dump by accident.
    """

    __slots__ = ("_data",)
    __hash__ = None  # type: ignore[assignment]  # a dict or set of secrets would be a second home for them

    def __init__(self, data: bytes) -> None:
        self._data = data

    def reveal(self) -> bytes:
        """The bytes. Call it where they are looked into or written, and keep no copy."""
        return self._data

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # late: start-up; nearly nobody compares secrets

        return hmac.compare_digest(self._data, other._data)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
