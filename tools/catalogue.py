"""The catalogue data/papers.toml: thirty papers in four tracks."""

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Paper:
    """One entry of data/papers.toml; the fields are explained at the top of that file."""

    number: int
    slug: str
    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    link: str
    track: str
    prerequisites: tuple[int, ...]
    needs: str
    gradients: bool
    claim: str
    teaches: str
    steps: tuple[str, ...]
    claims: tuple[str, ...]
    bibtex: str

    @property
    def name(self) -> str:
        """File name without its ending, such as 02_char_rnn_karpathy."""
        return f"{self.number:02d}_{self.slug}"

    @property
    def path(self) -> Path:
        return NOTEBOOKS / f"{self.name}.ipynb"

    @property
    def published(self) -> str:
        """Venue and year: "NeurIPS 2017", "Blog post, 2015", "ICLR 2016, first version 2015"."""
        if str(self.year) in self.venue:
            return self.venue
        dated = re.search(r"[12]\d{3}$", self.venue)
        return f"{self.venue}, {'first version ' if dated else ''}{self.year}"

    def link_from(self, folder: str = "") -> str:
        """Markdown: number and title, a link where the notebook is there."""
        label = f"{self.number:02d} {self.title}"
        return f"[{label}]({folder}{self.name}.ipynb)" if self.path.exists() else label


@dataclass(frozen=True)
class Track:
    key: str
    title: str
    intro: str
    order: tuple[int, ...]


@functools.cache
def load() -> tuple[dict[int, Paper], dict[str, Track]]:
    """Papers by number and tracks by key."""
    raw = tomllib.loads((ROOT / "data" / "papers.toml").read_text(encoding="utf-8"))
    frozen = [{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
              for entry in raw["paper"]]
    papers = {entry["number"]: Paper(**entry) for entry in frozen}
    tracks = {key: Track(key, t["title"], t["intro"], tuple(t["order"]))
              for key, t in raw["tracks"].items()}
    return papers, tracks


def present() -> list[Paper]:
    """The papers whose notebook is in notebooks/."""
    return [paper for paper in load()[0].values() if paper.path.exists()]


def select(words: list[str]) -> list[Paper]:
    """Papers from words such as 02, 13 or 4,14; all present ones for no word at all.

    Raises SystemExit with the reason for a word that names no notebook.
    """
    papers = load()[0]
    numbers = [word for group in words for word in group.replace(",", " ").split()]
    if not numbers:
        return present()
    for word in numbers:
        if not word.isdigit() or int(word) not in papers:
            raise SystemExit(f"no notebook {word!r}: expected numbers from 01 to 30")
    return [papers[int(word)] for word in numbers]
