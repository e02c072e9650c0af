"""Every notebook has the anatomy, the budgets and the hygiene that CONTRIBUTING.md promises."""

import ast
import re
import statistics
import sys

import pytest

from tools import notebook
from tools.catalogue import NOTEBOOKS, ROOT, load, present

PAPERS = present()
every_notebook = pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.name)
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "scipy", "matplotlib"}
OPTIONAL_ROLES = {"backward", "sanity", "training"}  # for papers without a gradient


@pytest.fixture
def nb(paper):
    return notebook.read(paper.path)


def trees(nb):
    return [ast.parse(cell.source) for cell in notebook.code_cells(nb)]


def nodes(nb, kind):
    return [node for tree in trees(nb) for node in ast.walk(tree) if isinstance(node, kind)]


def test_the_folder_holds_notebooks_of_the_catalogue_and_nothing_else():
    assert {path.name for path in NOTEBOOKS.iterdir() if path.name != ".ipynb_checkpoints"} == \
        {paper.path.name for paper in PAPERS}


@every_notebook
def test_roles_stand_in_order(paper, nb):
    roles = [tag.removeprefix("role-") for cell in nb.cells for tag in notebook.tags(cell)
             if tag.startswith("role-")]
    wanted = [r for r in notebook.ROLES if paper.gradients or r not in OPTIONAL_ROLES or r in roles]
    assert roles == wanted


@every_notebook
def test_sections_open_with_a_heading(nb):
    for cell in nb.cells:
        if any(tag.startswith("role-") for tag in notebook.tags(cell)):
            assert cell.cell_type == "markdown"
            assert re.match(r"##? \S", cell.source), cell.source[:60]


@every_notebook
def test_header_is_of_the_right_paper(paper, nb):
    assert nb.cells[0].source.startswith(f"# {paper.number:02d} · {paper.title}\n")
    assert nb.metadata["thirty_papers"]["number"] == paper.number


@every_notebook
def test_imports_only_what_is_allowed(nb):
    for node in nodes(nb, ast.Import | ast.ImportFrom):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        assert {name.split(".")[0] for name in names} <= ALLOWED, ast.unparse(node)


@every_notebook
def test_no_magics_and_no_reading_of_files(nb):
    for cell in notebook.code_cells(nb):
        assert not re.search(r"^\s*[%!]", cell.source, flags=re.M), cell.source[:80]
    called = {ast.unparse(node.func) for node in nodes(nb, ast.Call)}
    assert not called & {"open", "np.load", "np.loadtxt", "urlopen", "get_ipython", "exec", "eval"}


@every_notebook
def test_no_global_random_state(nb):
    """Only generators: np.random.default_rng, np.random.Generator and friends."""
    for node in nodes(nb, ast.Attribute):
        if ast.unparse(node.value) == "np.random":
            assert node.attr in {"default_rng", "Generator", "SeedSequence"}, f"np.random.{node.attr}"
    for node in nodes(nb, ast.Call):
        if ast.unparse(node.func) == "np.random.default_rng":
            assert node.args, "default_rng() without a seed differs from run to run"


@every_notebook
def test_seed_stands_alone(nb):
    cells = [cell for cell in nb.cells if "parameters" in notebook.tags(cell)]
    assert [cell.source for cell in cells] == ["SEED = 0"]


@every_notebook
def test_idioms_are_the_canonical_text(nb):
    """A cell that defines a name of an idiom is that idiom's cell, to the letter, and tagged."""
    owner = {}
    for name in notebook.idiom_names():
        for node in ast.parse(notebook.idiom_source(name)).body:
            if isinstance(node, ast.FunctionDef):
                owner[node.name] = name
    for cell in notebook.code_cells(nb):
        tagged = {tag.removeprefix("idiom-") for tag in notebook.tags(cell) if tag.startswith("idiom-")}
        defined = {node.name for node in ast.walk(ast.parse(cell.source))
                   if isinstance(node, ast.FunctionDef)}
        assert {owner[name] for name in defined & owner.keys()} <= tagged, cell.source[:80]
        for name in tagged:
            assert cell.source == notebook.idiom_source(name), f"{name} is not the canonical text"


@every_notebook
def test_house_idioms_are_used(paper, nb):
    tagged = {tag for cell in nb.cells for tag in notebook.tags(cell)}
    assert {"idiom-style", "idiom-scoreboard", "scoreboard", "cover"} <= tagged
    if paper.gradients:
        assert "idiom-grad_check" in tagged


@every_notebook
def test_executed_in_order_from_a_fresh_kernel(nb):
    counts = [cell.execution_count for cell in notebook.code_cells(nb)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_errors_and_no_warnings_are_stored(nb):
    assert notebook.complaints(nb) == []


@every_notebook
def test_cell_and_function_lengths(nb):
    cells = [len(cell.source.splitlines()) for cell in notebook.code_cells(nb)]
    assert statistics.median(cells) <= 12
    assert max(cells) <= 45
    functions = [node.end_lineno - node.lineno + 1 for node in nodes(nb, ast.FunctionDef)]
    assert sum(length > 25 for length in functions) <= 0.15 * len(functions), sorted(functions)


@every_notebook
def test_line_length(nb):
    for cell in notebook.code_cells(nb):
        assert max(map(len, cell.source.splitlines()), default=0) <= 110, cell.source[:80]


@every_notebook
def test_amount_of_prose(nb):
    words = notebook.prose_words(nb)
    assert 1800 <= words <= 3500
    assert words >= 5 * notebook.code_lines(nb), "prose is 5 to 10 words for each line of code"


@every_notebook
def test_figures(nb):
    found = notebook.figures(nb)
    assert 5 <= len(found) <= 9
    for cell, _, alt in found:
        assert len(alt.split()) >= 12, f"a figure without a description: {cell.source[:80]}"


@every_notebook
def test_every_function_has_a_docstring(nb):
    for tree in trees(nb):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert ast.get_docstring(node), f"{node.name} has no docstring"


@every_notebook
def test_cost(paper, nb):
    measured = nb.metadata["thirty_papers"]
    assert measured["cpu_seconds"] <= 90
    assert measured["peak_mib"] < 1024
    assert paper.path.stat().st_size <= 1.2e6


@every_notebook
def test_scoreboard(nb):
    found = notebook.record(nb)
    assert found and len(found["rows"]) >= 3
    for row in found["rows"]:
        assert row["verdict"] == row["expect"] and row["place"] and row["paper"]
    at = next(i for i, cell in enumerate(nb.cells) if "scoreboard" in notebook.tags(cell))
    assert "nbval-ignore-output" in notebook.tags(nb.cells[at])
    after = nb.cells[at + 1]
    printed = "".join(output.get("text", "") for output in after.outputs)
    assert printed.splitlines() == [f"{r['verdict']}: {r['claim']}" for r in found["rows"]]
    assert "nbval-ignore-output" not in notebook.tags(after)


@every_notebook
def test_thresholds_and_measurements_are_not_typed_twice(nb):
    """The number of a row comes from a variable, not from a literal."""
    for node in nodes(nb, ast.Dict | ast.Call):
        pairs = ([(ast.unparse(k).strip("'\""), v) for k, v in zip(node.keys, node.values, strict=True) if k]
                 if isinstance(node, ast.Dict) else [(k.arg, k.value) for k in node.keywords])
        for key, value in pairs:
            assert key != "ours" or not isinstance(value, ast.Constant), ast.unparse(node)[:80]


@every_notebook
def test_exercises(nb):
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    assert text.count("<details>") == text.count("</details>") >= 3
    assert sum("self-check" in notebook.tags(cell) for cell in nb.cells) >= 2


@every_notebook
def test_links_to_files_resolve(paper, nb):
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|```.*?```", " ", cell.source, flags=re.S)
            for target in re.findall(r"\]\(([^)#]+)\)", prose):
                if not re.match(r"https?://", target):
                    assert (paper.path.parent / target).exists(), target


@every_notebook
def test_the_scoreboard_holds_on_swept_seeds(paper):
    from tools import sweep

    stored = sweep.load(paper)
    assert stored, f"the code has changed since the last sweep: make sweep NB={paper.number:02d}"
    assert {"0", "1", "2", "3", "4"} <= stored["seeds"].keys()
    for name, results in {"stored": stored["seeds"], **stored["elsewhere"]}.items():
        for seed, result in results.items():
            assert sweep.holds(result), f"{name}, seed {seed}: {result['errors']}"


def test_nothing_is_imported_from_the_project():
    assert not list(NOTEBOOKS.glob("*.py")) and (ROOT / "tests" / "idioms").is_dir()


def test_all_numbers_of_the_catalogue_are_planned():
    assert sorted(load()[0]) == list(range(1, 31))
