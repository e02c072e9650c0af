"""The sources of the site: a page for each notebook, every figure described, links that lead somewhere."""

import importlib.util
import json
import re
import sys
from collections import Counter

import pytest

from tools import notebook
from tools.catalogue import ROOT, load, present

PAGES = ("index", "scoreboard", "not_reproduced", "history", "notation", "glossary")


def load_script(name: str):
    """site/NAME.py as a module (a folder called site cannot be imported: Python has one of that name)."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


site = load_script("generate")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with all generated sources."""
    folder = tmp_path_factory.mktemp("site")
    site.OUT, site.EXTRA = folder / "pages", folder / "extra"
    site.generate()
    return folder / "pages"


@pytest.fixture(scope="module")
def pages(out):
    """Text of every page: file name from the root of the site -> its Markdown."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in out.glob("*.md")}
    for path in (out / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[f"notebooks/{path.name}"] = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return texts


def test_every_notebook_has_its_page_and_its_place(out, pages):
    names = {paper.name for paper in present()}
    assert {path.stem for path in (out / "notebooks").glob("*.ipynb")} == names
    assert set(PAGES) == {path.stem for path in out.glob("*.md")}
    listed = re.findall(r"^notebooks/(\w+)$", pages["index.md"], flags=re.M)
    papers, tracks = load()
    order = [papers[n].name for track in tracks.values() for n in track.order if papers[n].path.exists()]
    assert listed == order, "previous and next follow the order of the tracks"


def test_a_page_keeps_code_and_outputs_of_its_notebook(out):
    for paper in present():
        page = notebook.read(out / "notebooks" / paper.path.name)
        stored = notebook.read(paper.path)
        assert notebook.sources(out / "notebooks" / paper.path.name) == notebook.sources(paper.path)
        assert [cell.outputs for cell in notebook.code_cells(page)] == \
            [cell.outputs for cell in notebook.code_cells(stored)]


def test_every_figure_is_described(out):
    for paper in present():
        found = notebook.figures(notebook.read(out / "notebooks" / paper.path.name))
        assert found
        for cell, _, alt in found:
            assert len(alt) > 20 and cell.metadata["mystnb"]["image"]["alt"] == alt, paper.name


def test_each_page_links_paper_download_and_browser(pages):
    for paper in present():
        text = pages[f"notebooks/{paper.path.name}"]
        assert f'href="../lite/lab/index.html?path={paper.path.name}"' in text
        assert f'<a class="action" href="{paper.path.name}" download>' in text
        assert (site.EXTRA / "notebooks" / paper.path.name).exists()
        assert paper.link.replace("&", "&amp;") in text
        seconds = notebook.read(paper.path).metadata["thirty_papers"]["cpu_seconds"]
        minutes = int(re.search(r"about (\d+) min there", text)[1])
        assert minutes == max(1, round(seconds * site.BROWSER_FACTOR / 60))
        assert "an estimate, not a measurement" in text


def test_links_resolve(out, pages):
    """Relative links of Markdown and HTML; a page may be named by its source or by its .html."""
    for name, text in pages.items():
        text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
        targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:href|src)="([^"]+)"', text)
        for target in targets:
            file = re.split(r"[#?]", target)[0]
            if re.match(r"https?:|mailto:", target) or not file or re.search(r"\blite/", file):
                continue
            here = (out / name).parent / file
            extra = site.EXTRA / here.relative_to(out) if here.is_relative_to(out) else here
            sources = [here, extra, here.with_suffix(".md"), here.with_suffix(".ipynb")]
            assert any(path.exists() for path in sources), f"{name}: {target}"


def test_glossary_is_complete_and_used(pages):
    terms = site.glossary()
    names = [entry["name"] for entry in terms]
    assert 60 <= len(terms) and len(set(names)) == len(names)
    assert {"teacher forcing", "KL divergence", "Bahdanau attention"} <= set(names)
    spellings = Counter(word.lower() for entry in terms for word in [entry["name"], *entry.get("also", [])])
    assert max(spellings.values()) == 1, spellings.most_common(3)
    for entry in terms:
        sentences = re.findall(r"[.;?!:](?:\s|$)", " ".join(entry["text"].split()))
        assert len(sentences) >= 2, entry["name"]
        assert load()[0][entry["notebook"]], entry["name"]
    for name, text in pages.items():
        used = re.findall(r"\{term\}`[^`]*<([^`>]+)>`", text)
        assert set(used) <= set(names)
        assert len(used) == len(set(used)), f"{name}: only the first use is a link"
        if name.startswith("notebooks/"):
            assert used, name


def test_only_prose_is_linked():
    terms = [{"name": "softmax"}, {"name": "KL divergence", "also": ["KL"]}]
    found = site.pattern(terms)
    text = ("# The softmax\n\n`softmax` and $softmax$ and [softmax](a.md), softmaxes\n\n| softmax |\n\n"
            "The Softmax and the KL divergence; softmax, KL.")
    linked = site.link_terms(text, terms, found, set())
    assert linked.startswith(text[:text.index("The Softmax")])
    assert linked.endswith("The {term}`Softmax <softmax>` and the {term}`KL divergence <KL divergence>`; "
                           "softmax, KL.")


def test_scoreboard_has_every_claim(pages):
    rows = [row for paper in present() for row in notebook.record(notebook.read(paper.path))["rows"]]
    assert pages["scoreboard.md"].count("<tr><td") == len(rows)
    bad = sum(row["verdict"] != "reproduced" for row in rows)
    assert pages["scoreboard.md"].count('class="verdict bad"') == bad
    assert f"{bad} claims in" in pages["not_reproduced.md"]
    for paper in present():
        for row in notebook.record(notebook.read(paper.path))["rows"]:
            if row["verdict"] != "reproduced":
                assert f"| {site.plain(row['claim'])} |" in pages["not_reproduced.md"], row["claim"]


def test_home_shows_every_notebook(pages):
    cards = re.findall(r'<a class="card" href="notebooks/(\w+)\.html">\n<img src="(covers/\d\d\.png)"[^>]* '
                       r'alt="([^"]+)"', pages["index.md"])
    assert [name for name, _, _ in cards] == [paper.name for paper in present()]
    for _, cover, alt in cards:
        assert (site.EXTRA / cover).exists() and len(alt) > 20


def test_numbers_and_pictures_are_taken_from_the_notebooks(out):
    paper = present()[0]
    n, row = f"{paper.number:02d}", notebook.record(notebook.read(paper.path))["rows"][0]
    text = site.fill(f"is {{{{ours {n} {row['claim']}}}}}.", "probe")
    assert text == f"is {notebook.shown(row['ours'], row['digits'])}."
    assert site.typeset(-3e-08, 2) == "\u22123 × 10<sup>\u22128</sup>"
    figure = site.fill(f"{{{{figure {n} cover}}}}", "probe")
    assert ":alt: " in figure and (out / "pictures" / "probe_1.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="has no claim 'a wish'"):
        site.fill(f"{{{{ours {n} a wish}}}}", "probe")
    with pytest.raises(ValueError, match="0 figures"):
        site.fill(f"{{{{figure {n} no such words}}}}", "probe")


def test_history_types_no_measurement():
    """Decimal numbers in the chapter are put there by name; years and section numbers are whole."""
    text = (ROOT / "site" / "text" / "history.md").read_text(encoding="utf-8")
    assert not re.findall(r"\d+\.\d+", re.sub(r"\{\{.*?\}\}|\]\([^)]*\)", "", text, flags=re.S))
    assert len(re.findall(r"\{\{(?:ours|size|percent) ", text)) >= 10
    assert len(re.findall(r"\{\{figure ", text)) >= 6


def test_nothing_is_fetched_from_elsewhere(pages):
    """Pages link to other sites, and load nothing from them."""
    for name, text in pages.items():
        assert not re.findall(r'src="(?:https?:)?//|<link |@import|!\[[^]]*\]\(https?:', text), name
    for path in (ROOT / "site" / "_static").glob("*.*"):
        found = re.findall(r"https?://[^\s\"']+", path.read_text(encoding="utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name
