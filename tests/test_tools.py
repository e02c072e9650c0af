"""The tools refuse what they should refuse and lose nothing on the way."""

import argparse
import ast
import json
from contextlib import nullcontext
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from tests import mutation
from tools import build, mutants, notebook, portability, progress, reference, sweep, text
from tools.catalogue import ROOT, load, present, select


def make(*sources, tag=None):
    """A notebook of code cells; the last one has the tag."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    if tag:
        nb.cells[-1].metadata["tags"] = [tag]
    return nb


def paper_at(tmp_path, monkeypatch):
    """The catalogue's first paper, with its notebook in a temporary folder."""
    monkeypatch.setattr("tools.catalogue.NOTEBOOKS", tmp_path)
    return load()[0][1]


def test_execution_measures_and_keeps_outputs():
    nb = make("x = 6 * 7\nprint(x)")
    cost = notebook.execute(nb, "test", quiet=True)
    assert nb.cells[0].outputs[0].text == "42\n" and len(nb.cells) == 1
    assert 0 < cost["cpu_seconds"] < 60 and 10 < cost["peak_mib"] < 1024


def test_a_notebook_runs_in_an_empty_folder():
    nb = make("import os\nprint(os.listdir())")
    notebook.execute(nb, "test", quiet=True)
    assert nb.cells[0].outputs[0].text == "[]\n"


def test_a_failing_cell_is_named_and_nothing_is_stored(tmp_path, monkeypatch):
    paper = paper_at(tmp_path, monkeypatch)
    paper.path.write_text("the old notebook")
    with pytest.raises(notebook.NotebookFailed, match="ZeroDivisionError"):
        notebook.run_and_store(make("1 / 0"), paper)
    assert paper.path.read_text() == "the old notebook"


def test_a_warning_cell_is_refused(tmp_path, monkeypatch):
    paper = paper_at(tmp_path, monkeypatch)
    with pytest.raises(notebook.NotebookFailed, match="wrote to stderr"):
        notebook.run_and_store(make("import warnings; warnings.warn('careful')"), paper)
    assert not paper.path.exists()


def test_render_reports_a_missing_notebook(tmp_path, monkeypatch, capsys):
    from tools import render

    paper_at(tmp_path, monkeypatch)
    assert render.main(["01"]) == 1
    assert "no such notebook yet" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["31", "00", "x", "1.5"])
def test_unknown_notebook(word):
    with pytest.raises(SystemExit, match="no notebook"):
        select([word])


def test_selection():
    assert [p.number for p in select(["02,13", "23"])] == [2, 13, 23]
    assert select([]) == present()


def test_seeds():
    assert sweep.parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert sweep.parse_seeds("3,7-8") == [3, 7, 8]


@pytest.mark.parametrize("words", ["", "a", "1-", "4-2", "-1"])
def test_bad_seeds(words):
    with pytest.raises(argparse.ArgumentTypeError, match="seeds"):
        sweep.parse_seeds(words)


def test_seed_is_replaced_in_its_cell_only():
    nb = make("a = 1", "SEED = 0", tag="parameters")
    sweep.set_seed(nb, 7)
    assert [cell.source for cell in nb.cells] == ["a = 1", "SEED = 7"]
    with pytest.raises(ValueError, match="found 0"):
        sweep.set_seed(make("SEED = 0"), 7)


ROWS = ("record = {{'rows': [{{'claim': 'c', 'ours': SEED, 'op': '>=', 'threshold': 1, 'digits': 1,"
        "'verdict': 'reproduced' if SEED >= 1 else 'not reproduced', 'expect': 'reproduced'}}],"
        "'gradient_errors': {{}}}}\ndisplay({{'{}': record}}, raw=True)\nassert SEED >= 1")


@pytest.fixture
def one_notebook(tmp_path, monkeypatch):
    """A notebook of two cells whose only claim holds for seeds from 1 on."""
    paper = paper_at(tmp_path, monkeypatch)
    nb = make("import numpy", "SEED = 0", tag="parameters")
    nb.cells.append(nbformat.v4.new_code_cell(ROWS.format(notebook.SCOREBOARD_MIME)))
    notebook.write(nb, paper.path)
    return paper


def test_sweep_sees_which_seeds_hold(one_notebook, tmp_path, monkeypatch):
    paper, nb = one_notebook, notebook.read(one_notebook.path)
    results = {seed: sweep.run(paper, seed) for seed in (0, 2)}
    assert not sweep.holds(results[0]) and "AssertionError" in results[0]["errors"][0]
    assert sweep.holds(results[2]) and results[2]["rows"][0]["ours"] == 2
    shown = sweep.table(paper, results)
    assert "holds on 1 of 2 seeds" in shown and "!0.0" in shown

    monkeypatch.setattr(sweep, "RESULTS", tmp_path)
    sweep.store(paper, results)
    assert sweep.load(paper)["seeds"].keys() == {"0", "2"} and not sweep.load(paper)["elsewhere"]
    other = results[2] | {"arithmetic": "another"}
    chosen = results[2] | {"arithmetic": f"another{notebook.CHOSEN}chosen"}
    sweep.store(paper, {2: other})
    sweep.store(paper, {2: chosen, 3: chosen})
    stored = sweep.load(paper)
    assert stored["seeds"] == {"0": results[0], "2": other}
    assert stored["elsewhere"] == {results[2]["arithmetic"]: {"2": results[2]},
                                   chosen["arithmetic"]: {"2": chosen, "3": chosen}}
    sweep.store(paper, {2: results[2]})                       # back on the first machine: they change places
    assert sweep.load(paper)["elsewhere"]["another"] == {"2": other}
    assert results[2]["arithmetic"] not in sweep.load(paper)["elsewhere"]
    nb.cells[0].source = "import numpy  # a comment does not count"
    notebook.write(nb, paper.path)
    assert sweep.load(paper)
    nb.cells[0].source = "import numpy, math"
    notebook.write(nb, paper.path)
    assert sweep.load(paper) is None


def test_text_round_trip_keeps_sources_and_tags(tmp_path, monkeypatch):
    paper = present()[0]
    monkeypatch.setattr(text, "SCRATCH", tmp_path)
    monkeypatch.setattr(text, "ROOT", tmp_path)
    assert text.main([f"{paper.number:02d}"]) == 0
    old, new = notebook.read(paper.path), build.from_text(text.text_path(paper))
    notebook.fill_idioms(new)
    assert [(c.cell_type, c.source, notebook.tags(c)) for c in new.cells] == \
        [(c.cell_type, c.source, notebook.tags(c)) for c in old.cells]


def test_text_does_not_overwrite_newer_work(tmp_path, monkeypatch, capsys):
    paper = present()[0]
    monkeypatch.setattr(text, "SCRATCH", tmp_path)
    text.text_path(paper).write_text("my edit")
    assert text.main([f"{paper.number:02d}"]) == 1
    assert text.text_path(paper).read_text() == "my edit"
    assert "newer" in capsys.readouterr().err


def test_blocks():
    assert notebook.replace_block("a <!-- x:begin -->old<!-- x:end --> b", "x", "new") == \
        "a <!-- x:begin -->\nnew\n<!-- x:end --> b"
    with pytest.raises(ValueError, match="exactly one block"):
        notebook.replace_block("no block", "x", "new")


def test_words_and_lines_are_counted_as_documented():
    nb = make('def f():\n    """Doc\n    string."""\n\n    # why\n    return "two"')
    nb.cells.append(nbformat.v4.new_markdown_cell("Two words $x^2$ `code` [link](http://a.b/c)."))
    assert notebook.code_lines(nb) == 2
    assert notebook.prose_words(nb) == 3


def test_an_unknown_idiom_is_named():
    with pytest.raises(KeyError, match="no idiom 'adagrad'"):
        notebook.idiom_source("adagrad")


def test_unknown_oracle(capsys):
    assert reference.main(["99"]) == 1
    assert "no oracle" in capsys.readouterr().err


def test_check_mode_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "generate", lambda: {progress.ROOT / "absent.md": b"text"})
    assert progress.main(["--check"]) == 1
    assert "absent.md is out of date" in capsys.readouterr().err
    assert not (progress.ROOT / "absent.md").exists()


def test_mutants_of_a_small_function():
    tree = ast.parse("def f(x, W):\n    '''-x'''\n    y = x[i + 1] @ W.T - 2 * x\n    return y").body[0]
    found = [what for what, _ in mutation.mutants(tree)]
    assert found == ["keep only the left term: x[i + 1] @ W.T - 2 * x",
                     "keep only the right term: x[i + 1] @ W.T - 2 * x",
                     "flip the sign: x[i + 1] @ W.T - 2 * x", "drop the transpose: W.T",
                     "drop the right factor: 2 * x", "drop the left factor: 2 * x"]


@pytest.mark.parametrize("x, digits, text", [(0.1234, 2, "0.12"), (-3.0, 0, "-3"), (0.0, 2, "0.00"),
                                             (4.7e-14, 2, "5e-14"), (-0.004, 2, "-4e-03")])
def test_numbers_are_never_shown_as_all_zeros(x, digits, text):
    assert notebook.shown(x, digits) == text


# --- what is run on other machines, counted and timed ------------------------------------------------

def test_sweep_on_a_dask_cluster(one_notebook):
    from distributed import LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, sweep.workers(1, cluster.scheduler_address) as pool:
        results = sweep.run_all(pool, [one_notebook], [0, 3])
    assert {seed: sweep.holds(r) for seed, r in results[one_notebook].items()} == {0: False, 3: True}
    shown = sweep.short_table(results)
    assert "1 of 2" in shown and one_notebook.name[:40] in shown


def test_sweep_names_a_scheduler_that_does_not_answer():
    with pytest.raises(SystemExit, match="127.0.0.1:9.*no scheduler answers"):
        sweep.workers(1, "127.0.0.1:9").__enter__()


def test_mutants_are_counted_and_survivors_need_a_reason(tmp_path, monkeypatch, capsys):
    paper = load()[0][2]
    monkeypatch.setattr(mutants, "RESULTS", tmp_path / "mutants.json")
    monkeypatch.setattr(mutants, "survey", lambda number, name: (10, {"flip the sign: a + b": ""}))
    monkeypatch.setattr(mutants, "ProcessPoolExecutor", lambda jobs: nullcontext(SimpleNamespace(
        map=lambda f, *columns, chunksize: list(map(f, *columns)))))
    assert mutants.main(["02"]) == 1
    assert "NO REASON GIVEN" in capsys.readouterr().out
    monkeypatch.setattr(progress, "MUTANTS", tmp_path / "mutants.json")
    functions = progress.mutants_row(paper)["functions"]
    assert progress.mutants_noticed(paper) == f"{9 * functions} of {10 * functions}"
    monkeypatch.setattr(mutants, "survey", lambda number, name: (100, {}))
    assert mutants.main(["02"]) == 0


def test_a_survivor_is_found_and_named():
    tried, missed = mutants.survey(2, next(iter(mutants.module(load()[0][2]).CHECKS)))
    assert tried >= 2 and missed == {}


def test_over_budget_is_said(monkeypatch):
    monkeypatch.setattr(progress, "BUDGET", {"cpu_seconds": 1, "peak_mib": 1024})
    monkeypatch.setattr(progress, "TOTAL_CPU", 60)
    found = progress.over_budget()
    assert len(found) == len(present()) + 1
    assert found[0].startswith(present()[0].name) and "at most 1 wanted" in found[0]
    assert f"- Over budget: {found[-1]}." in progress.budget_section()


def test_cheapest_notebooks_of_each_track():
    numbers = portability.cheapest(1)
    papers, tracks = load()
    assert {papers[n].track for n in numbers} == tracks.keys() and len(numbers) == len(tracks)
    assert all({k.split("_")[0] for k in v} <= {"OPENBLAS", "NPY"} for v in portability.settings().values())


def test_every_trained_notebook_has_a_benchmark_and_a_result():
    there = {int(path.stem[2:]) for path in (ROOT / "tools" / "benchmarks").glob("nb*.py")}
    assert there == {p.number for p in present() if p.gradients}
    rows = json.loads((ROOT / "data" / "benchmark.json").read_text(encoding="utf-8"))["steps"]
    assert {int(number) for number in rows} == there
    assert max(row["difference"] for row in rows.values()) <= 2e-3


def test_golden_vectors_stay_if_only_rounding_differs():
    x = {"a": np.array([1.0, 0.0]), "n": np.array([3, 4]), "none": np.zeros((0, 2))}
    old = reference.encode(x)
    assert reference.agrees(old, reference.encode(x | {"a": x["a"] + 1e-13}))
    for other in ({"a": x["a"] + 1e-9}, {"n": np.array([3, 5])}, {"a": x["a"][:1]}, {"b": x["a"]},
                  {"a": np.array([1.0, np.nan])}, {"n": np.array([3.0, 4.0])}):
        assert not reference.agrees(old, reference.encode(x | other))
