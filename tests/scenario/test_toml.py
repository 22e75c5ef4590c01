"""Writing TOML: whatever the standard library reads comes back equal."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.scenario import toml

SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.dates(),
    st.times(),
    st.datetimes(),
)
KEYS = st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES))
def test_a_document_comes_back_equal(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml.dumps(document)) == document


def test_values_of_a_table_stand_before_its_tables() -> None:
    document = {"cluster": {"device": {"name": "P100"}, "servers": 2}, "title": "x"}
    assert toml.dumps(document) == (
        'title = "x"\n\n[cluster]\nservers = 2\n\n[cluster.device]\nname = "P100"\n'
    )


def test_what_toml_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="TOML has no NoneType"):
        toml.dumps({"a": None})
