"""The blinded sheet that raters fill in: one HTML page that needs no network and no server."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
SIDE = 84  # pixels of a patch on the page
QUESTION = "Which patches show the same part?"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
  max-width: 62rem; padding: 0 1rem 5rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0; display: inline; }
section { border-top: 1px solid #ddd; padding: .8rem 0; }
section.done { background: #f3f7f2; }
.said { color: #666; margin-left: .6rem; }
.patches { display: flex; flex-wrap: wrap; gap: 6px; margin: .5rem 0; }
.patches button { border: 0; padding: 3px; background: none; cursor: pointer; font-size: 11px;
  color: #666; border-radius: 5px; }
.patches img { display: block; width: SIDEpx; height: SIDEpx; border-radius: 3px; opacity: .92; }
.patches button[aria-pressed=true] { background: #1a7f37; color: #fff; }
.patches button[aria-pressed=true] img { opacity: 1; }
button.plain { font: inherit; padding: .15rem .6rem; margin-right: .4rem; }
footer { position: fixed; bottom: 0; left: 0; right: 0; background: #fff; padding: .6rem 1rem;
  border-top: 1px solid #bbb; text-align: center; }
footer input { font: inherit; width: 11rem; }
"""
_SCRIPT = """
const store = "explgraph-raters-" + SHEET, rows = [...document.querySelectorAll("section")];
let said = { rater: "", answers: {} };
try { said = JSON.parse(localStorage.getItem(store)) || said; } catch (error) { /* no storage */ }
const name = document.getElementById("rater");
name.value = said.rater;
function show() {
  for (const row of rows) {
    const same = said.answers[row.dataset.row];
    row.classList.toggle("done", same !== undefined);
    row.querySelector(".said").textContent = same === undefined ? "" :
      same.length ? same.length + " show the same part" : "no two alike";
    row.querySelectorAll("[aria-pressed]").forEach((patch, k) =>
      patch.setAttribute("aria-pressed", (same || []).includes(k + 1)));
  }
  const done = Object.keys(said.answers).length;
  document.getElementById("progress").textContent = done + " of " + rows.length + " answered";
  try { localStorage.setItem(store, JSON.stringify(said)); } catch (error) { /* no storage */ }
}
function answer(row, same) {
  if (same === undefined) delete said.answers[row]; else said.answers[row] = same;
  show();
}
for (const row of rows) {
  const number = row.dataset.row, patches = [...row.querySelectorAll("[aria-pressed]")];
  patches.forEach((patch, k) => patch.addEventListener("click", () => {
    const same = said.answers[number] || [], one = k + 1;
    answer(number, same.includes(one) ? same.filter(x => x !== one)
      : [...same, one].sort((a, b) => a - b));
  }));
  row.querySelector(".all").onclick = () => answer(number, patches.map((_, k) => k + 1));
  row.querySelector(".none").onclick = () => answer(number, []);
  row.querySelector(".clear").onclick = () => answer(number, undefined);
}
name.oninput = () => { said.rater = name.value; show(); };
function save(text, kind, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = "answers-" + (said.rater.trim().replace(/[^\\w-]+/g, "_") || "rater") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
document.getElementById("json").onclick = () => save(JSON.stringify(
  { sheet: SHEET, rater: said.rater.trim(), answers: said.answers }, null, 1) + "\\n",
  "application/json", ".json");
document.getElementById("csv").onclick = () => save("sheet,rater,row,same\\n" + rows.map(row => {
  const same = said.answers[row.dataset.row];
  const cell = same === undefined ? "" : same.length ? same.join(" ") : "none";
  return [SHEET, '"' + said.rater.trim().replace(/"/g, '""') + '"', row.dataset.row, cell].join();
}).join("\\n") + "\\n", "text/csv", ".csv");
show();
"""


def rater_page(sheet: str, rows: Sequence[Sequence[Pixels]]) -> str:
    """The page: a row for each set of patches, none of which says what it is of.

    Answers are kept in the browser and saved as JSON or CSV; row and patches count from 1.

    Args:
        sheet: what the answers say that they belong to.
        rows: the patches of each, (height, width, 3), RGB.

    >>> page = rater_page("a1", [[np.zeros((8, 8, 3), np.uint8)] * 2])
    >>> page.count("<img"), "http" in page
    (2, False)
    """
    body = "\n".join(_row(number, patches) for number, patches in enumerate(rows, 1))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{QUESTION}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE.replace("SIDE", str(SIDE))}\
</style></head><body>
<h1>{QUESTION}</h1>
<p>Each row shows patches cut from photographs. Look at the middle of the patches. Mark the largest
group of patches that show the same part of the object (such as the ear, or the knee): click on each
of them. If no two show the same part, say so. Rows differ; in some nearly all patches belong
together, in others hardly any. Your answers stay in this browser until you save them below.</p>
{body}
<footer><label>Your name: <input id="rater" autocomplete="off"></label>
<span class="said" id="progress"></span>
<button class="plain" id="json">Save answers (JSON)</button>
<button class="plain" id="csv">as CSV</button></footer>
<script>const SHEET = {json.dumps(sheet)};{_SCRIPT}</script></body></html>
"""


def _row(number: int, patches: Sequence[Pixels]) -> str:
    cells = "".join(
        f'<button aria-pressed="false" title="patch {k}"><img alt="patch {k}" src="{_source(one)}">'
        f"{k}</button>"
        for k, one in enumerate(patches, 1)
    )
    return (
        f'<section data-row="{escape(str(number))}"><h2>Row {number}. {QUESTION}</h2>'
        f'<span class="said"></span><div class="patches">{cells}</div>'
        '<button class="plain all">all</button><button class="plain none">no two alike</button>'
        '<button class="plain clear">clear</button></section>'
    )


def _source(patch: Pixels) -> str:
    """The patch as a data URL: the page is one file, and no file's name tells where it is from."""
    image = Image.fromarray(patch).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + b64encode(file.getvalue()).decode("ascii")
