"""Take the solutions out of a notebook's solution cells, and leave everything that explains them."""

import ast
import io
import tokenize


def comments(lines: list[str], first: int, last: int, indent: str) -> list[str]:
    """Comments of lines first to last (numbered from 1) of a cell, each on a line of its own.

    A comment that shares its line with code, such as a shape, is indented by indent.
    """
    found = []
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.type == tokenize.COMMENT and first <= token.start[0] <= last:
            before = lines[token.start[0] - 1][:token.start[1]]
            found.append((indent if before.strip() else before) + token.string)
    return found


def has_docstring(node: ast.FunctionDef) -> bool:
    return ast.get_docstring(node, clean=False) is not None


def stub(source: str, names: list[str]) -> str:
    """A solution cell without its solutions.

    The body of each named function becomes one `raise NotImplementedError`; signature, decorators, docstring
    and comments stay as they were typed, and so does all other code. ValueError if the cell does not
    define one of the functions at its top level.
    """
    lines, functions = source.split("\n"), [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in names]
    if sorted(node.name for node in functions) != sorted(names):
        raise ValueError(f"cell that begins {source[:40]!r}: expected definitions of {sorted(names)}")
    for node in reversed(functions):                       # from below, so that line numbers stay true
        body = node.body[1:] if has_docstring(node) else node.body
        indent = " " * (node.col_offset + 4)
        raising = f'{indent}raise NotImplementedError("{node.name}: your code here")'
        # What stays above: the docstring's last line, or the line on which the signature ends.
        above = node.body[0].end_lineno if has_docstring(node) else signature_end(lines, node)
        kept = comments(lines, above + 1, node.end_lineno, indent) if body else []
        lines[above:node.end_lineno] = [*kept, raising]
        if not has_docstring(node) and body[0].lineno == above:     # def f(x): return x
            lines[above - 1] = lines[above - 1][:body[0].col_offset].rstrip()
    return "\n".join(lines)


def signature_end(lines: list[str], node: ast.FunctionDef) -> int:
    """Number of the line on which the colon of the signature stands."""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.start[0] < node.lineno:
            continue
        if token.type != tokenize.OP:
            continue
        depth += (token.string in "([{") - (token.string in ")]}")
        if token.string == ":" and depth == 0:
            return token.start[0]
    raise ValueError(f"function {node.name!r}: expected a colon behind its signature")
