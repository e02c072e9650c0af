"""Write the sources of the site into site/_generated: python site/generate.py

Every page is made from data/papers.toml, the stored notebooks, data/sweep and the few texts in
site/text. Numbers and figures in those texts are named, not typed: {{ours 02 LSTM: bits per
character}} is the measured value of that row of the scoreboard, {{figure 02 cover}} a picture.
"""

import base64
import copy
import functools
import html
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from tools import notebook, progress, sweep  # noqa: E402
from tools.catalogue import Paper, load, present  # noqa: E402

OUT = HERE / "_generated"
EXTRA = HERE / "_build" / "extra"  # copied to the site as it is
TEXT = HERE / "text"
BROWSER_FACTOR = 5  # assumed: CPU-seconds with Pyodide for one CPU-second with CPython

# What is not running text in Markdown: code, maths, comments, links, tags, headings and tables.
NOT_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|<!--.*?-->|\$[^$]+\$|`[^`]*`|!?\[[^]]*\]\([^)]*\)"
                       r"|<[a-zA-Z/][^>\n]*>|^#+ [^\n]*$|^\|[^\n]*$", re.S | re.M)


read = functools.cache(lambda paper: notebook.read(paper.path))
stored = functools.cache(sweep.load)


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def plain(text: str) -> str:
    """Text in Markdown without any of it being taken for markup."""
    return re.sub(r"([\\`*_{}\[\]<>#$|~])", r"\\\1", " ".join(text.split()))


# --- glossary -------------------------------------------------------------------------------------

def glossary() -> list[dict]:
    """Terms of text/glossary.toml in alphabetical order."""
    terms = tomllib.loads((TEXT / "glossary.toml").read_text(encoding="utf-8"))["term"]
    return sorted(terms, key=lambda entry: entry["name"].lower())


def glossary_page() -> str:
    """A Sphinx glossary, so that notebooks can refer to its terms and the search finds them."""
    papers = load()[0]
    lines = ["# Glossary", "",
             "The words of the course in plain language. Each entry names a notebook in which the thing is "
             "at work. In the notebooks, the first use of a word leads here.", "",
             "````{glossary}", ":sorted:", ""]
    for entry in glossary():
        text = " ".join(entry["text"].split())
        lines += [entry["name"], f"  {text} At work in {page_link(papers[entry['notebook']], 'notebooks/')}.",
                  ""]
    return "\n".join([*lines, "````", ""])


def page_link(paper: Paper, folder: str = "") -> str:
    """Markdown link to a notebook's page, its title alone where there is no notebook."""
    return f"[{page_label(paper)}]({folder}{paper.name}.ipynb)" if paper.path.exists() else page_label(paper)


def page_label(paper: Paper) -> str:
    return f"{paper.number:02d} {plain(paper.title)}"


def pattern(terms: list[dict]) -> re.Pattern:
    """Matches any spelling of any term, the longest first; the group's name is the term's place."""
    spellings = [(word, i) for i, entry in enumerate(terms)
                 for word in [entry["name"], *entry.get("also", [])]]
    spellings.sort(key=lambda pair: -len(pair[0]))
    return re.compile("|".join(rf"(?P<t{i}_{k}>(?<![\w-]){re.escape(word)}(?![\w-]))"
                               for k, (word, i) in enumerate(spellings)), re.I)


def link_terms(text: str, terms: list[dict], found: re.Pattern, seen: set[int]) -> str:
    """The first use of each term that is not in `seen`, as a reference to the glossary."""
    def refer(match: re.Match) -> str:
        i = int(match.lastgroup[1:].split("_")[0])
        if i in seen:
            return match.group()
        seen.add(i)
        return f"{{term}}`{match.group()} <{terms[i]['name']}>`".replace("\n", " ")

    out, at = [], 0
    for skip in NOT_PROSE.finditer(text):
        out += [found.sub(refer, text[at:skip.start()]), skip.group()]
        at = skip.end()
    return "".join([*out, found.sub(refer, text[at:])])


# --- a notebook's page ----------------------------------------------------------------------------

def browser_minutes(nb) -> int:
    """Estimated minutes in the browser: measured CPU-seconds times an assumed factor."""
    return max(1, round(nb.metadata["thirty_papers"]["cpu_seconds"] * BROWSER_FACTOR / 60))


def actions(nb, paper: Paper) -> str:
    """Links under the header: run, download, read the paper; and how long it takes."""
    cpu = nb.metadata["thirty_papers"]["cpu_seconds"]
    return f"""<div class="actions">
<a class="action first" href="../lite/lab/index.html?path={paper.name}.ipynb">Run in the browser</a>
<a class="action" href="{paper.name}.ipynb" download>Download the notebook</a>
<a class="action" href="{escape(paper.link)}">Read the paper</a>
</div>
<p class="actions-note">Nothing to install: it runs in this browser, with NumPy, SciPy and Matplotlib.
Expect about {browser_minutes(nb)} min there. That is an estimate, not a measurement: the {cpu:.0f}
CPU-seconds of the stored run times {BROWSER_FACTOR}. Python itself is loaded over the network when it
starts. {note_on(paper)}</p>"""


def note_on(paper: Paper) -> str:
    """What a reader should know before running this notebook in a browser."""
    if re.search(r"import threading|from threading|ThreadPoolExecutor|from concurrent",
                 "\n".join(notebook.sources(paper.path))):
        return "A browser has no threads: there its stages take turns, and the notebook says so."
    return ""


def describe_figures(nb) -> None:
    """Hand the alt text that show() stored with each picture on to the page, in place."""
    for cell, _, alt in notebook.figures(nb):
        if not alt:
            raise ValueError(f"a figure without alt text: {cell.source[:80]!r}")
        cell.metadata.setdefault("mystnb", {})["image"] = {"alt": alt}


def notebook_page(paper: Paper, terms: list[dict], found: re.Pattern):
    """The stored notebook with links to the glossary, alt text on figures and folded helper cells."""
    nb = copy.deepcopy(read(paper))
    describe_figures(nb)
    seen, role = set(), ""
    for i, cell in enumerate(nb.cells):
        tags = notebook.tags(cell)
        role = next((tag for tag in tags if tag.startswith("role-")), role)
        if cell.cell_type == "code":
            if any(tag.startswith("idiom-") for tag in tags):
                cell.metadata["tags"] = [*tags, "hide-input"]
            continue
        if i and role not in ("role-exercises", "role-summary"):
            cell.source = link_terms(cell.source, terms, found, seen)
        if "role-notation" in tags:
            cell.source += "\n\nLetters that all notebooks share are in [Notation](../notation.md)."
    head = nb.cells[0]
    head.source = head.source.replace("<!-- facts:begin -->", actions(nb, paper) + "\n\n{.facts}")
    return nb


# --- scoreboard -----------------------------------------------------------------------------------

@functools.cache
def rows_of(paper: Paper) -> list[dict]:
    return (notebook.record(read(paper)) or {"rows": []})["rows"]


def verdicts(paper: Paper) -> tuple[int, int]:
    """(claims reproduced, claims measured)"""
    rows = rows_of(paper)
    return sum(row["verdict"] == "reproduced" for row in rows), len(rows)


def score_row(paper: Paper, row: dict) -> str:
    """One claim as a row of HTML; data-value is what the column is sorted by."""
    ours = notebook.shown(row["ours"], row["digits"])
    over = progress.spread(stored(paper), row["claim"], row["digits"])
    badge = "good" if row["verdict"] == "reproduced" else "bad"
    return (f'<tr><td data-value="{paper.number}"><a href="notebooks/{paper.name}.html" '
            f'title="{escape(paper.title)}">{paper.number:02d}</a></td>'
            f"<td>{escape(row['claim'])}</td>"
            f'<td><span class="verdict {badge}">{row["verdict"]}</span></td>'
            f'<td data-ours data-value="{row["ours"]!r}">{ours}</td>'
            f"<td>{escape(row['op'])} {row['threshold']:g}</td><td>{over}</td>"
            f"<td>{escape(row['paper'])}</td><td>{escape(row['place'])}</td></tr>")


def score_table(papers: list[Paper], name: str) -> str:
    """The claims of some notebooks as a table whose columns can be sorted."""
    heads = ["Notebook", "Claim", "Verdict", "Ours", "Wanted", "Over seeds", "Paper", "In the paper"]
    body = [score_row(paper, row) for paper in papers for row in rows_of(paper)]
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    return "\n".join([f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">',
                      f'<table class="scoreboard"><caption>{name}</caption>',
                      f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody></table></div>"])


def scoreboard_page() -> str:
    papers = present()
    counts = [verdicts(paper) for paper in papers]
    good, total = sum(g for g, _ in counts), sum(t for _, t in counts)
    return f"""# Scoreboard

{len(papers)} notebooks ask {total} questions of their papers and of themselves. {good} claims are
reproduced at this scale, {total - good} are not; [what did not reproduce, and why](not_reproduced.md)
has its own page. A verdict is computed from a measurement and asserted in the notebook. "Over seeds"
is the mean, and in brackets the range, when the notebook runs with the seeds 0 to 4.

Choose a column's title to sort by it, once more to turn the order round.

<form class="filter" role="search" onsubmit="return false">
<label>Show claims with <input type="search" id="score-filter" autocomplete="off"></label>
<label><input type="checkbox" id="score-bad"> only what did not reproduce</label>
<output id="score-count" for="score-filter score-bad" aria-live="polite"></output>
</form>

{score_table(papers, "All claims")}
"""


# --- what did not reproduce -----------------------------------------------------------------------

TELLS = re.compile(r"not reproduc|reproduced? only in part|do(?:es)? not hold here|did not hold|Not so here"
                   r"|limits of the claim", re.I)


def paragraphs(nb) -> list[tuple[str, str]]:
    """(role of its section, text) of each paragraph that is prose."""
    out, role = [], ""
    for cell in nb.cells:
        role = next((tag for tag in notebook.tags(cell) if tag.startswith("role-")), role)
        if cell.cell_type == "markdown":
            out += [(role, part) for part in re.split(r"\n\s*\n", cell.source)
                    if not re.match(r"[|#<`$]|\s*- ", part)]
    return out


def explanations(nb) -> list[str]:
    """The notebook's own paragraphs about what did not reproduce."""
    return [text for role, text in paragraphs(nb)
            if TELLS.search(text) and role not in ("role-exercises", "role-header")]


def not_reproduced_section(paper: Paper) -> str:
    nb = read(paper)
    bad = [row for row in rows_of(paper) if row["verdict"] != "reproduced"]
    lines = [f"## {page_link(paper, 'notebooks/')}", "", "| claim | in the paper | paper | ours | wanted |",
             "|---|---|---|---|---|"]
    lines += [f"| {plain(row['claim'])} | {plain(row['place'])} | {plain(row['paper'])} | "
              f"{notebook.shown(row['ours'], row['digits'])} | {plain(row['op'])} {row['threshold']:g} |"
              for row in bad]
    for text in explanations(nb) + chosen(paper, nb):
        lines += ["", *[f"> {line}" for line in text.splitlines()]]
    if lines[-1].endswith("|"):
        lines += ["", "What was done differently there stands under "
                  f"[Departures](notebooks/{paper.name}.ipynb) of that notebook."]
    return "\n".join([*lines, ""])


def chosen(paper: Paper, nb) -> list[str]:
    """Paragraphs named in text/why.toml by a few of their words; what is said stays the notebook's."""
    wanted = tomllib.loads((TEXT / "why.toml").read_text(encoding="utf-8")).get(f"{paper.number:02d}", [])
    texts = [" ".join(text.split()) for _, text in paragraphs(nb)]
    out = []
    for words in wanted:
        hits = [text for text in texts if words in text]
        if not hits:
            raise ValueError(f"why.toml: {paper.name} has no paragraph with {words!r}")
        out += [text for text in hits[:1] if not TELLS.search(text) and text not in out]
    return out


def not_reproduced_page() -> str:
    bad = [paper for paper in present() if any(row["verdict"] != "reproduced" for row in rows_of(paper))]
    total = sum(row["verdict"] != "reproduced" for paper in bad for row in rows_of(paper))
    return f"""# What did not reproduce, and why

{total} claims in {len(bad)} notebooks did not come out as the paper says, as one would hope, or as
we guessed. They are stated before the measurement, measured like all others, and asserted: should one
of them come out after all, the notebook fails. Most say something about scale. Some correct what is
often told about a paper. Below the numbers stands what the notebook itself says about them.

""" + "\n".join(map(not_reproduced_section, bad))


# --- home -----------------------------------------------------------------------------------------

def card(paper: Paper) -> str:
    """Picture, title, claim and time of a notebook as a card that is one link."""
    nb = read(paper)
    cpu = nb.metadata["thirty_papers"]["cpu_seconds"]
    good, total = verdicts(paper)
    return "\n".join([
        f'<a class="card" href="notebooks/{paper.name}.html">',
        f'<img src="covers/{paper.number:02d}.png" loading="lazy" alt="{escape(cover_alt(nb))}">',
        f'<span class="card-title">{paper.number:02d} {escape(paper.title)}</span>',
        f'<span class="card-claim">{escape(paper.claim)}</span>',
        f'<span class="card-facts">{paper.year} · {good} of {total} claims reproduced · '
        f"{cpu:.0f} CPU-seconds</span></a>"])


def cover_alt(nb) -> str:
    return next(alt for cell, _, alt in notebook.figures(nb) if "cover" in notebook.tags(cell))


def track_path(key: str) -> str:
    """A track as a numbered path of links."""
    papers, tracks = load()
    track = tracks[key]
    steps = [f"1. {page_link(papers[n], 'notebooks/')}" for n in track.order]
    return "\n".join([f"### {track.title}", "", track.intro, "", *steps, ""])


def toctree(caption: str, pages: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def home_page() -> str:
    papers, tracks = load()
    text = fill((TEXT / "home.md").read_text(encoding="utf-8"), "")
    cards = "\n".join(['<div class="cards">', *map(card, present()), "</div>"])
    paths = "\n".join(track_path(key) for key in tracks)
    trees = [toctree(track.title, [f"notebooks/{papers[n].name}" for n in track.order
                                   if papers[n].path.exists()]) for track in tracks.values()]
    trees.append(toctree("Across the thirty", ["history", "scoreboard", "not_reproduced", "notation",
                                               "glossary"]))
    text = text.replace("{{cards}}", cards).replace("{{tracks}}", paths)
    return text.replace("{{counts}}", counts()) + "\n" + "\n".join(trees)


def counts() -> str:
    """The course in four numbers."""
    papers = present()
    each = [verdicts(paper) for paper in papers]
    gradients = sum(len(notebook.record(read(paper))["gradient_errors"]) for paper in papers)
    cpu = sum(read(paper).metadata["thirty_papers"]["cpu_seconds"] for paper in papers)
    numbers = [(len(papers), "notebooks"), (gradients, "gradients checked"),
               (sum(total for _, total in each), "claims measured"),
               (sum(total - good for good, total in each), "of them not reproduced"),
               (f"{cpu / 60:.0f} min", "to run everything on one core")]
    items = [f"<li><strong>{n}</strong> {what}</li>" for n, what in numbers]
    return "\n".join(['<ul class="counts">', *items, "</ul>"])


# --- numbers and pictures named in texts ----------------------------------------------------------

def row_named(number: int, claim: str) -> dict:
    """The row of a notebook's scoreboard with this claim. Raises ValueError if there is none."""
    rows = [row for row in rows_of(load()[0][number]) if row["claim"] == claim]
    if not rows:
        raise ValueError(f"notebook {number:02d} has no claim {claim!r}")
    return rows[0]


def figure_named(number: int, words: str) -> tuple[bytes, str]:
    """(PNG, alt text) of the cover, or of the one figure whose alt text has these words."""
    nb = read(load()[0][number])
    hits = [(png, alt) for cell, png, alt in notebook.figures(nb)
            if ("cover" in notebook.tags(cell) if words == "cover" else words in alt)]
    if len(hits) != 1:
        raise ValueError(f"notebook {number:02d}: {len(hits)} figures with {words!r} in their alt text")
    return base64.b64decode(hits[0][0]), hits[0][1]


def typeset(value: float, digits: int) -> str:
    """A number with a true minus sign, and powers of ten instead of e-08."""
    text = re.sub(r"e([+-])0*(\d+)$", r" × 10<sup>\1\2</sup>", notebook.shown(value, digits))
    return text.replace("-", "\u2212").replace("<sup>+", "<sup>")


def fill(text: str, name: str) -> str:
    """Put measured numbers, pictures and links in the place of their names."""
    papers = load()[0]
    pictures = []

    def value(match: re.Match) -> str:
        kind, number, what = match["kind"], int(match["number"]), " ".join((match["what"] or "").split())
        if kind in ("ours", "size"):
            row = row_named(number, what)
            return typeset(abs(row["ours"]) if kind == "size" else row["ours"], row["digits"])
        if kind == "percent":
            return f"{100 * row_named(number, what)['ours']:.0f} %"
        if kind == "link":
            return f"[{plain(what) or page_label(papers[number])}](notebooks/{papers[number].name}.ipynb)"
        png, alt = figure_named(number, what)
        pictures.append(png)
        file = f"{name}_{len(pictures)}.png"
        (OUT / "pictures").mkdir(parents=True, exist_ok=True)
        (OUT / "pictures" / file).write_bytes(png)
        return (f'```{{figure}} pictures/{file}\n:alt: {json.dumps(alt, ensure_ascii=False)}\n\n'
                f"From {page_link(papers[number], 'notebooks/')}.\n```")

    return re.sub(r"\{\{(?P<kind>ours|size|percent|figure|link) (?P<number>\d\d)(?:\s+(?P<what>[^}]*))?\}\}",
                  value, text)


# --- all of it ------------------------------------------------------------------------------------

def generate() -> None:
    """Write all sources anew."""
    for folder in (OUT, EXTRA):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "notebooks").mkdir(parents=True)
    (EXTRA / "covers").mkdir()
    terms = glossary()
    found = pattern(terms)
    for paper in present():
        page = notebook_page(paper, terms, found)
        (OUT / "notebooks" / paper.path.name).write_text(json.dumps(page), encoding="utf-8")
        shutil.copy(paper.path, EXTRA / "notebooks")
        (EXTRA / "covers" / f"{paper.number:02d}.png").write_bytes(figure_named(paper.number, "cover")[0])
    pages = {"index": home_page, "scoreboard": scoreboard_page, "not_reproduced": not_reproduced_page,
             "glossary": glossary_page}
    for name, page in pages.items():
        (OUT / f"{name}.md").write_text(page(), encoding="utf-8")
    for name in ("notation", "history"):
        text = fill((TEXT / f"{name}.md").read_text(encoding="utf-8"), name)
        (OUT / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    generate()
    print(f"{len(present())} notebooks and {len(list(OUT.glob('*.md')))} pages written")
