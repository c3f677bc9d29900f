"""Nested mappings as one."""

from lmexp.nested import flat


def test_keys_are_joined_and_lists_are_values():
    nested = {"seed": 1, "model": {"sizes": {"d": 2}, "cell": [3, {"e": 4}]}, "none": {}}

    assert flat(nested) == {"seed": 1, "model.sizes.d": 2, "model.cell": [3, {"e": 4}]}
    assert flat({"a": {"b": {"c": None}}}, "data/", "/") == {"data/a/b/c": None}
