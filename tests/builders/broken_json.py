"""JSON documents with something wrong in them, as Hypothesis' strategies."""

import copy
import json

from hypothesis import strategies as st

_DEEP = "a value that is nested too deep"
NUMBERS = (
    0, -1, 1, 2, 1.5, -0.5, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
TEXTS = (
    "", " ", "head", "leg", "3", "-1", "nan", "../../etc/passwd", "/etc/passwd", "a/../b.png", "\0",
    "a\0b", "\x1b[2J", "a\nb", "é" * 300, "x" * 5000, "\ud800", "9" * 5000, "=1+1", "{", "\u202e",
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], [None], ["a"], [1, 2], {"a": 1}, {"": []}, _DEEP)
# Copies, as a later change may go into a list that an earlier one put there.
LEAVES = st.sampled_from((*NUMBERS, *TEXTS, *OTHERS)).map(copy.deepcopy)


@st.composite
def changed(draw, whole, most=3):
    """The document with one to ``most`` changes somewhere in it."""
    document = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, most))):
        document = _change(draw, document)
    return document


def _change(draw, document):
    parent, key, here = None, None, document
    # The deeper, the more there is; an end on the way is rarer.
    while isinstance(here, dict | list) and here and (parent is None or draw(st.integers(0, 5))):
        keys = list(here) if isinstance(here, dict) else range(len(here))
        parent, key = here, draw(st.sampled_from(keys))
        here = here[key]
    how = draw(st.sampled_from(("replace",) * 6 + ("remove", "twice", "rename")))
    if parent is None or (how == "replace" and draw(st.integers(0, 40)) == 0):
        return draw(LEAVES)
    if how == "remove":
        del parent[key]
    elif how == "twice" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(here))
    elif how == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from(TEXTS))] = parent.pop(key)
    else:
        parent[key] = draw(LEAVES)
    return document


def written(document, file):
    """The file, with the document as Python's json writes it: NaN and half characters too."""
    text = json.dumps(document).replace(f'"{_DEEP}"', "[" * 5000 + "]" * 5000)
    file.write_text(text)
    return file


@st.composite
def bytes_of(draw, whole):
    """The document as bytes with a few changed, cut, or in another encoding."""
    content = bytearray(json.dumps(whole).encode(draw(st.sampled_from(_ENCODINGS))))
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    end = draw(st.none() | st.integers(0, len(content)))
    return bytes(content[:end])


_ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be")
