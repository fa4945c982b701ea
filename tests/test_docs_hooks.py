"""What the site's pages become beyond Markdown: formulas, links from names, notebooks."""

from types import SimpleNamespace

import docs_hooks


def page(url):
    return SimpleNamespace(url=url, file=SimpleNamespace(src_uri=url.replace(".html", ".md")))


def test_a_formula_becomes_mathml_that_needs_no_script():
    written = r'<p><span class="arithmatex">\(a \sim \log x\)</span></p>'
    drawn = docs_hooks.on_page_content(written, page=page("method.html"))
    assert drawn.startswith("<p><math")
    assert "arithmatex" not in drawn
    assert "&#x0223C;" in drawn
    assert '<mi>log</mi><mspace width="0.17em"/><mi>x</mi>' in drawn


def test_a_public_name_becomes_a_link_but_not_in_code_headings_and_links():
    name = "<code>gradcam</code>"
    wanted = f'<autoref identifier="explgraph.gradcam" optional>{name}</autoref>'
    for around in ("<pre>{}</pre>", "<h2>{}</h2>", '<a href="x">{}</a>'):
        html = around.format(name)
        assert docs_hooks.on_page_content(html, page=page("api/why.html")) == html
    assert docs_hooks.on_page_content(name, page=page("api/why.html")) == wanted
    assert docs_hooks.on_page_content(name, page=page("cli.html")) == name  # there, a command


def test_links_out_of_the_pages_lead_to_their_places_in_the_site():
    text = "[a](../README.md#one) [b](../CHANGELOG.md) [c](two.ipynb) [d](method.md)"
    moved = docs_hooks.on_page_markdown(text, page=page("notebooks/one.html"))
    assert moved == "[a](../index.md) [b](changelog.md) [c](two.md) [d](method.md)"


def test_a_notebook_is_shown_with_what_came_out_of_it():
    shown = {"data": {"text/html": ["<b>\n", "\n", "7</b>"], "text/plain": ["7"]}}
    printed = {"name": "stdout", "text": ["1\n", "2\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["f()"], "outputs": [printed, shown]},
    ]
    assert list(docs_hooks.blocks({"cells": cells})) == [
        "# Title",
        "```python\nf()\n```",
        "```text\n1\n2\n```",
        "<div>\n<b>\n7</b>\n</div>",
    ]
