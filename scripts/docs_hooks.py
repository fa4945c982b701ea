"""What mkdocs is told beyond `mkdocs.yml`: the changelog, formulas, examples, links from names."""

import inspect
import json
import re
from html import unescape
from pathlib import Path

import griffe
from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/api").glob("*.md"))
SHOWN = {
    name.rpartition(".")[2]: name
    for page in PAGES
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M)
}
ERRORS = re.findall(r"^class (\w+)", (ROOT / "explgraph/errors.py").read_text(), re.M)
SHOWN |= {name: f"explgraph.errors.{name}" for name in ERRORS}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
# Where latex2mathml 3.81 sets other spaces than TeX does.
SPACING = (
    (r"(<mi>(?:cos|exp|ln|log)</mi>)(?=<m[in])", r'\1<mspace width="0.17em"/>'),
    (r"(</m[in]>|&#x00029;</mo>)(?=<mi>(?:cos|exp|ln|log)<)", r'\1<mspace width="0.17em"/>'),
    (r"<mo>max</mo>", "<mi>max</mi>"),
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),
    (r'<mo stretchy="false">&#x0007C;', '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;'),
    (
        r"<msup>(<mi>\w</mi>)<mi>&#x02032;</mi></msup>",
        r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>',
    ),
)
# A name in the prose, neither in a block of code nor in a heading nor in a link.
NAME = re.compile(
    r"<(pre|h\d|a)\b.*?</\1>|<code>((?:explgraph\.)?(?:[a-z]+\.)*(\w+)(\.\w+)*)</code>", re.S
)

# From ">>>" to the next empty line, as doctest has it.
EXAMPLE = re.compile(r"^>>> .*?(?=\n[ \t]*\n|\Z)", re.S | re.M)


class Reference(griffe.Extension):
    """How the docstrings are read."""

    def on_package(self, *, pkg, **_):
        """A public name that a module has too, `attribution.gradcam`, is that of the function."""
        for one in pkg.members.values():
            place = one.target_path.partition(".")[2] if one.is_alias else ""
            if place and pkg[place].is_module and one.name in pkg[place].members:
                one.target_path += f".{one.name}"

    def on_instance(self, *, obj, **_):
        """Examples become blocks of code; in Markdown, ">>>" is a quotation."""
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = EXAMPLE.sub(
                "```pycon\n\\g<0>\n```", inspect.cleandoc(obj.docstring.value)
            )


def on_files(files, config):
    """The changelog lies outside of `docs`, where people look for it first; notebooks are shown."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=text))
    for notebook in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        content = "\n\n".join(blocks(json.loads(notebook.read_text(encoding="utf-8"))))
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=content))
    return files


def blocks(notebook):
    """The cells of a notebook as Markdown, code with what came out of it."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        for output in cell.get("outputs", []):
            shown = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
            if html := shown.get("text/html"):
                lines = [line for line in html.splitlines() if line.strip()]
                yield "\n".join(["<div>", *lines, "</div>"])  # an empty line would end it
            elif png := shown.get("image/png"):
                yield f'<img alt="" src="data:image/png;base64,{png.strip()}">'
            elif text := shown.get("text/plain") or "".join(output.get("text", "")):
                yield f"```text\n{text.rstrip()}\n```"


def on_page_markdown(markdown, page, **_):
    """Links to what is a page of another name here."""
    start = "../" * page.file.src_uri.count("/") + "index.md"
    markdown = re.sub(r"\]\((?:\.\./)+README\.md[^)]*\)", f"]({start})", markdown)
    markdown = markdown.replace("](../CHANGELOG.md)", "](changelog.md)")
    return re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", markdown)


def on_page_content(html, page, **_):
    """Formulas become MathML, which browsers draw without a script; public names become links."""

    def formula(found):
        drawn = convert(unescape(found[2]), display="block" if found[1] == "div" else "inline")
        for written, wanted in SPACING:
            drawn = re.sub(written, wanted, drawn)
        return drawn

    def link(found):
        whole, name, last = found[0], found[2], found[3]
        # Outside of the reference a bare `explain` may be the command.
        if last not in SHOWN or not (page.url.startswith("api/") or "." in name):
            return whole
        return f'<autoref identifier="{SHOWN[last]}{found[4] or ""}" optional>{whole}</autoref>'

    return NAME.sub(link, FORMULA.sub(formula, html))
