"""data/papers.toml is complete and consistent."""

import re

import pytest

from tools.catalogue import load

PAPERS, TRACKS = load()
every_paper = pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda p: p.name)


def test_thirty_in_order():
    assert list(PAPERS) == list(range(1, 31))


def test_tracks_partition_the_thirty():
    assert list(TRACKS) == ["beginner", "intermediate", "advanced", "theory"]
    assert sorted(n for track in TRACKS.values() for n in track.order) == list(range(1, 31))
    for track in TRACKS.values():
        assert all(PAPERS[n].track == track.key for n in track.order)
        assert track.intro


@every_paper
def test_entry_is_complete(paper):
    assert re.fullmatch(r"[a-z][a-z0-9_]+", paper.slug)
    assert paper.title and paper.venue and paper.needs and paper.teaches.endswith(".")
    assert all(" " in author for author in paper.authors), "authors have full names"
    assert 1980 <= paper.year <= 2026
    assert paper.link.startswith("https://") or paper.link.startswith("http://")
    assert paper.claim.endswith(".") and len(paper.claim) <= 160
    assert 5 <= len(paper.steps) <= 9
    assert 3 <= len(paper.claims) <= 8


@every_paper
def test_bibtex(paper):
    assert re.match(r"@\w+\{[\w:-]+,", paper.bibtex.strip())
    assert paper.bibtex.count("{") == paper.bibtex.count("}")
    year = int(re.search(r"year\s*=\s*\{(\d{4})\}", paper.bibtex)[1])
    assert 0 <= year - paper.year <= 5, "the entry cites the published version, after the first one"
    family = re.search(r"[A-Za-z]+$", paper.authors[0])[0]  # what follows an accented letter, at least
    assert family in re.search(r"author\s*=(.*)", paper.bibtex)[1]


def test_keys_and_links_are_unique():
    for values in ([p.slug for p in PAPERS.values()], [p.link for p in PAPERS.values()],
                   [re.search(r"\{([\w:-]+),", p.bibtex)[1] for p in PAPERS.values()]):
        assert len(set(values)) == len(values)


@every_paper
def test_prerequisites_come_first(paper):
    order = TRACKS[paper.track].order
    for number in paper.prerequisites:
        assert number in PAPERS and number != paper.number
        if PAPERS[number].track == paper.track:
            assert order.index(number) < order.index(paper.number)


def test_prerequisites_have_no_circle():
    done: set[int] = set()
    while len(done) < len(PAPERS):
        ready = {n for n, p in PAPERS.items() if n not in done and set(p.prerequisites) <= done}
        assert ready, f"a circle among {sorted(set(PAPERS) - done)}"
        done |= ready
