"""The built site in a real browser. Needs Chromium (Debian: apt-get install chromium), else it is skipped."""

import contextlib
import functools
import gzip
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools.catalogue import ROOT, present

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: the tests in a browser are skipped"),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="Playwright is not installed"),
]
HTML = ROOT / "site" / "_build" / "html"
BUILT_FROM = ROOT / "site" / "_build" / "extra" / "notebooks"  # as they were when the site was built
MOST_BYTES = 2 * 2**20
PAGES = ["index.html", "scoreboard.html", "not_reproduced.html", "history.html", "notation.html",
         "glossary.html", "search.html", *(f"notebooks/{paper.name}.html" for paper in present())]
SCANNED = ["index.html", "scoreboard.html", "glossary.html", "notebooks/13_attention_is_all_you_need.html"]


@functools.cache
def zipped(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


class Zipped(http.server.SimpleHTTPRequestHandler):
    """Serves text compressed, as web hosts do, and says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in {".html", ".js", ".css", ".json", ".svg"} or not path.is_file():
            return super().do_GET()
        body = zipped(path)
        self.send_response(200)
        for name, value in (("Content-Type", self.guess_type(path)), ("Content-Encoding", "gzip"),
                            ("Content-Length", str(len(body))), ("Cache-Control", "max-age=600")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """Address of the site, built first if it is not fresh; workers wait for the one that builds."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    done = subprocess.run([sys.executable, "site/build.py", f"--session={session}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Zipped, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser(base):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def profile(browser):
    """One profile for all pages: what they share is fetched and compiled once."""
    context = browser.new_context()
    yield context
    context.close()


@contextlib.contextmanager
def opened(context, base: str, path: str, scheme: str = "light"):
    """(page, list of complaints) of a page, once it is loaded."""
    page, complaints = context.new_page(), []
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda r: complaints.append(f"failed: {r.url}")
            if r.url.startswith(base) else None)
    page.on("response", lambda r: complaints.append(f"{r.status}: {r.url}")
            if r.status >= 400 and r.url.startswith(base) else None)
    page.goto(base + path, wait_until="load")
    try:
        yield page, complaints
    finally:
        page.close()


def set_formulas(page) -> None:
    """Wait until MathJax is done, if the page has formulas."""
    page.wait_for_function("!document.querySelector('.math') || window.MathJax?.startup?.promise")
    page.evaluate("window.MathJax?.startup?.promise")


BROKEN = """async () => {
  const images = [...document.querySelectorAll("article img, .bd-article img")];
  images.forEach((image) => { image.loading = "eager"; });
  await Promise.all(images.map((image) => image.complete || image.decode().catch(() => null)));
  return images.filter((image) => !image.naturalWidth || !image.getBoundingClientRect().width
                                  || !(image.alt || "").trim()).map((image) => image.src);
}"""
BYTES = """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
               .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""


@pytest.mark.parametrize("path", PAGES)
def test_page(profile, base, path):
    """No error, no failed request, none to another host; figures shown and described; fits a phone; light."""
    with opened(profile, base, path) as (page, complaints):
        foreign = []
        page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith(base) else None)
        set_formulas(page)
        assert page.evaluate(BROKEN) == []
        assert page.locator("mjx-merror").count() == 0, "a formula has an error"
        page.wait_for_load_state("networkidle")
        assert page.evaluate(BYTES) < MOST_BYTES
        hosts = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert [url for url in hosts + foreign if not url.startswith(base)] == []
        page.set_viewport_size({"width": 390, "height": 844})
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= 390, f"{width} pixels wide on a phone"
        assert complaints == []


# The scan takes a minute for thousands of elements. Of rows, cells and formulas that look alike some will do.
FEWER = """() => {
  document.querySelectorAll("table.scoreboard tbody tr:nth-child(n + 40)").forEach((row) => row.remove());
  [...document.querySelectorAll("div.cell")].filter((cell, i) => i % 8).forEach((cell) => cell.remove());
  [...document.querySelectorAll(".math")].filter((formula, i) => i % 8).forEach((each) => each.remove());
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", SCANNED)
def test_accessible(profile, base, path, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(profile, base, path, scheme) as (page, _):
        set_formulas(page)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.evaluate(FEWER)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        bad = {rule["id"]: [node["target"] for node in rule["nodes"]][:5] for rule in found
               if rule["impact"] in ("serious", "critical")}
        assert bad == {}


@pytest.mark.parametrize(("words", "target"), [("teacher forcing", "glossary"),
                                               ("KL divergence", "17_variational_autoencoder"),
                                               ("Bahdanau", "14_bahdanau_attention")])
def test_search_finds(profile, base, words, target):
    with opened(profile, base, f"search.html?q={words.replace(' ', '+')}") as (page, complaints):
        page.wait_for_selector("#search-results li a")
        page.wait_for_selector("#search-results .search-summary:not(:empty)")
        page.wait_for_load_state("networkidle")
        links = page.locator("#search-results li a").evaluate_all("all => all.map((a) => a.href)")
        assert any(target in link for link in links) and any("glossary" in link for link in links)
        assert complaints == []


def test_scoreboard_sorts_and_filters_by_keyboard(profile, base):
    with opened(profile, base, "scoreboard.html") as (page, _):
        head = page.locator("table.scoreboard th", has_text="Ours")
        column = "rows => rows.map((row) => Number(row.querySelector('td[data-ours]').dataset.value))"
        for order, key in (("ascending", "Enter"), ("descending", "Space")):
            head.locator("button").press(key)
            assert head.get_attribute("aria-sort") == order
            values = page.locator("table.scoreboard tbody tr").evaluate_all(column)
            assert values == sorted(values, reverse=order == "descending") and len(set(values)) > 1
        page.locator("#score-filter").fill("lstm")
        page.locator("#score-bad").press("Space")
        rows = page.locator("table.scoreboard tbody tr:visible").all_inner_texts()
        assert rows and all("lstm" in row.lower() and "not reproduced" in row for row in rows)
        assert page.locator("#score-count").inner_text() == f"{len(rows)} claims shown"


def test_keyboard_reaches_the_text_first(profile, base):
    """The first stop is the link past the navigation."""
    with opened(profile, base, "index.html") as (page, _):
        page.keyboard.press("Tab")
        assert "Skip" in page.evaluate("document.activeElement.textContent")


def test_jupyterlite_lists_the_notebooks(profile, base):
    """The kernel comes from another host when a notebook is opened; the list needs none."""
    with opened(profile, base, "lite/lab/index.html") as (page, complaints):
        page.wait_for_selector(".jp-DirListing-item", timeout=90_000)
        names = {paper.path.name for paper in present()}
        page.wait_for_function("n => document.querySelectorAll('.jp-DirListing-item').length >= n",
                               arg=len(names), timeout=30_000)
        assert set(page.locator(".jp-DirListing-item .jp-DirListing-itemText").all_inner_texts()) == names
        assert [text for text in complaints if base in text] == []


def test_jupyterlite_has_the_notebooks_as_they_are(base):
    listing = json.loads((HTML / "lite" / "api" / "contents" / "all.json").read_text())["content"]
    assert {entry["name"] for entry in listing} == {paper.path.name for paper in present()}
    for paper in present():
        for copy in (HTML / "lite" / "files" / paper.path.name, HTML / "notebooks" / paper.path.name):
            assert copy.read_bytes() == (BUILT_FROM / paper.path.name).read_bytes()


def test_every_internal_link_resolves(base):
    """Links of all built pages: the file is there, and what follows # is an id in it."""
    pages = {path: path.read_text(encoding="utf-8") for path in HTML.rglob("*.html")
             if path.relative_to(HTML).parts[0] not in ("lite", "_static")}
    ids = {path: set(re.findall(r'\sid="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        for target in set(re.findall(r'<[^>]*\s(?:href|src)="([^"]*)"', text)):
            parts = urlsplit(target.replace("&amp;", "&"))
            if parts.scheme or parts.netloc:
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            other = other / "index.html" if other.is_dir() else other
            assert other.exists(), f"{path.name}: {target}"
            if parts.fragment and other in ids:
                assert unquote(parts.fragment) in ids[other], f"{path.name}: {target}"


def test_the_build_is_quick(base):
    """Less than three minutes by the clock, measured when it was built."""
    assert 1 < float((ROOT / "site" / "_build" / "seconds.txt").read_text()) < 180
