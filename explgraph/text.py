"""Text for people: names that come from files can neither forge lines nor steer the terminal."""

from __future__ import annotations


def one_line(text: object) -> str:
    r"""The text on one line; what a terminal would obey instead of showing it stands as an escape.

    That is control characters (newline, ESC), marks that turn the reading direction, and bytes of
    a file's name that are no text. Records (``to_dict``, ``--json``) keep the true name.

    >>> print(one_line("zebra\nerror: \x1b[31mdisk full\u202egpj.exe"))
    zebra\nerror: \x1b[31mdisk full\u202egpj.exe
    >>> one_line("Zebra, größer/斑馬.jpg")
    'Zebra, größer/斑馬.jpg'
    """
    text = str(text)
    if text.isprintable():
        return text
    # Blanks of other widths do no harm, and occur in names (Mac's screenshots, Japanese).
    shown = (one if one.isprintable() or _is_blank(one) else ascii(one)[1:-1] for one in text)
    return "".join(shown)


def _is_blank(one: str) -> bool:
    import unicodedata  # few names need it

    return unicodedata.category(one) == "Zs"
