"""Build the site into site/_build/html: python site/build.py [--serve]

Sphinx turns warnings into errors. JupyterLite is built into lite/, with the stored notebooks. Nothing is
fetched: MathJax comes from an installed package.
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "_build"
HTML = BUILD / "html"
STAMP = BUILD / "inputs.sha256"
SECONDS = BUILD / "seconds.txt"
LITE = HERE / "lite"
MATHJAX_PARTS = ("startup.js", "core.js", "input/tex.js", "input/tex", "output/chtml.js",
                 "output/chtml/fonts", "a11y/assistive-mml.js", "a11y/sre.js")


def inputs() -> list[Path]:
    """Files that the site is made from."""
    own = [path for path in HERE.rglob("*") if path.is_file()
           and not {"_build", "_generated", "__pycache__"} & set(path.relative_to(HERE).parts)]
    return sorted([*own, *(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "data" / "sweep").glob("*.json"),
                   ROOT / "data" / "papers.toml", ROOT / "requirements.txt", *(ROOT / "tools").glob("*.py")])


def fingerprint() -> str:
    digest = hashlib.sha256()
    for path in inputs():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def fresh() -> bool:
    """Whether what stands in _build was made from the files as they are now."""
    return STAMP.exists() and STAMP.read_text() == fingerprint() and (HTML / "lite").exists()


def run(*command: str | Path) -> None:
    """A step of the build. Raises SystemExit with its output if it fails."""
    # In _build, since JupyterLite leaves a file where it is run.
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=BUILD, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    if done.returncode:
        raise SystemExit(f"{command[0]} failed\n{done.stdout[-8000:]}")


def copy_mathjax() -> None:
    """Put the parts of MathJax that the pages load beside them."""
    source = Path(find_spec("mathjax").origin).parent / "static" / "mathjax" / "es5"
    target = HTML / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copy(source / part, target / part)


def build_lite() -> None:
    """JupyterLite with the stored notebooks."""
    output = HTML / "lite"
    shutil.rmtree(output, ignore_errors=True)
    # Only the kernel's extension: those of the JupyterLab here would ask for a server that is not there.
    kernel = Path(sys.prefix) / "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension"
    run("jupyterlite_core", "build", "--lite-dir", LITE, "--output-dir", output, "--apps", "lab",
        "--contents", BUILD / "extra" / "notebooks", "--ignore-sys-prefix",
        f"--LiteBuildConfig.federated_extensions={kernel}", "--no-sourcemaps", "--no-unused-shared-packages")


@contextlib.contextmanager
def alone():
    """Let one process build at a time; others wait for it."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as held:
        with contextlib.suppress(ImportError):  # Windows has no fcntl
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def build(session: str = "") -> None:
    """All of it, unless it is fresh, or was built by the same test session."""
    with alone():
        token = BUILD / "session"
        if not (session and token.exists() and token.read_text() == session) and not fresh():
            build_anew()
        token.write_text(session)


def build_anew() -> None:
    """Sources, pages, MathJax and JupyterLite."""
    STAMP.unlink(missing_ok=True)
    made_from, begin = fingerprint(), time.monotonic()
    shutil.rmtree(HTML, ignore_errors=True)
    subprocess.run([sys.executable, HERE / "generate.py"], check=True, cwd=ROOT)
    run("sphinx", "-W", "--keep-going", "-q", "-j", "2", "-b", "html", "-d", BUILD / "doctrees", "-c", HERE,
        HERE / "_generated", HTML)
    copy_mathjax()
    (HTML / ".nojekyll").touch()  # GitHub Pages would leave out folders that begin with _
    build_lite()
    SECONDS.write_text(f"{time.monotonic() - begin:.1f}\n")
    STAMP.write_text(made_from)


def serve(port: int) -> None:
    """Show the site until it is interrupted."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{port}/ (stop with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="show it afterwards")
    parser.add_argument("--session", default="", help="what this session has built is fresh for it")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(argv)
    build(options.session)
    print(f"built: {(HTML / 'index.html').relative_to(ROOT)}")
    if options.serve:
        serve(options.port)


if __name__ == "__main__":
    main(sys.argv[1:])
