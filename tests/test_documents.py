"""The pages that state results are the ones the tools generate, and links between pages resolve."""

import re

import pytest

from tools import progress
from tools.catalogue import ROOT

PAGES = ["README.md", "PROGRESS.md", "IMPLEMENTATION_TRACKS.md", "CONTRIBUTING.md", "data/README.md",
         "classroom/README.md"]


def test_generated_files_are_up_to_date():
    assert [str(path.relative_to(ROOT)) for path in progress.stale()] == [], "run make progress"


def anchors(text: str) -> set[str]:
    """Targets of #links: explicit ids, and headings as GitHub slugs them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text), flags=re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    path = ROOT / page
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        other = path if not file else path.parent / file
        assert other.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(other.read_text(encoding="utf-8")), f"{page}: {target}"


def test_readme_names_the_commands_that_ci_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make lab" in readme and "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


COMMANDS = {command for page in ("README.md", "CONTRIBUTING.md", "classroom/README.md")
            for command in re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(), flags=re.M)}


@pytest.mark.parametrize("target", sorted(COMMANDS))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M), target
