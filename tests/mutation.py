"""Small wrong versions of a function: a term dropped, a sign flipped, a transpose forgotten, ...

Only arithmetic on arrays is mutated. Subscripts, arguments of range and of array constructors,
keyword arguments, docstrings and error messages are left alone.
"""

import ast
import copy
from collections.abc import Iterator

SHAPE_CALLS = {"range", "zeros", "ones", "empty", "full", "reshape", "arange", "eye", "split",
               "transpose", "swapaxes", "zeros_like", "empty_like", "ones_like", "ValueError"}


def call_name(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """(field, index, child) of the parts of a node that may be mutated."""
    for field, value in ast.iter_fields(node):
        if isinstance(node, ast.Subscript) and field == "slice":
            continue
        if isinstance(node, ast.Call) and (field == "keywords" or
                                           field == "args" and call_name(node) in SHAPE_CALLS):
            continue
        if isinstance(node, ast.arguments | ast.Raise | ast.Assert):
            continue
        if isinstance(value, list):
            yield from ((field, i, item) for i, item in enumerate(value) if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST):
            yield field, None, value


def walk(node: ast.AST, path: tuple = ()) -> Iterator[tuple[tuple, ast.AST]]:
    yield path, node
    for field, index, child in children(node):
        yield from walk(child, (*path, (field, index)))


def alternatives(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(what was done, replacement) for one node."""
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield "keep only the left term", node.left
            yield "keep only the right term", node.right
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield "flip the sign", ast.BinOp(node.left, other, node.right)
        case ast.BinOp(op=ast.BitOr()):                          # dicts of gradients, merged
            yield "keep only the left dict", node.left
            yield "keep only the right dict", node.right
        case ast.BinOp(op=ast.Mult()):
            yield "drop the right factor", node.left
            yield "drop the left factor", node.right
        case ast.BinOp(op=ast.Div()):
            yield "drop the divisor", node.left
        case ast.BinOp(op=ast.Pow()):
            yield "drop the exponent", node.left
        case ast.UnaryOp(op=ast.USub()) if not isinstance(node.operand, ast.Constant):
            yield "drop the minus", node.operand
        case ast.Attribute(attr="T"):
            yield "drop the transpose", node.value
        case ast.Call() if call_name(node) in {"swapaxes", "transpose"} \
                and isinstance(node.func, ast.Attribute):
            yield "drop the transpose", node.func.value
        case ast.Call(func=ast.Attribute(attr="sum")):
            mean = ast.Attribute(node.func.value, "mean", ast.Load())
            yield "mean instead of sum", ast.Call(mean, node.args, node.keywords)
        case ast.AugAssign():
            yield "delete the statement", ast.Pass()
            yield "assign instead of accumulate", ast.Assign([node.target], node.value)
            if isinstance(node.op, ast.Add | ast.Sub):
                other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
                yield "flip the sign", ast.AugAssign(node.target, other, node.value)
        case ast.Assign(targets=[ast.Subscript()]):
            yield "delete the statement", ast.Pass()


def mutants(function: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(description, mutated function): every single small change, one at a time."""
    for path, node in walk(function):
        for what, replacement in alternatives(node):
            changed = copy.deepcopy(function)
            parent = changed
            for field, index in path[:-1]:
                parent = getattr(parent, field) if index is None else getattr(parent, field)[index]
            field, index = path[-1]
            if index is None:
                setattr(parent, field, copy.deepcopy(replacement))
            else:
                getattr(parent, field)[index] = copy.deepcopy(replacement)
            yield f"{what}: {ast.unparse(node)}", ast.fix_missing_locations(changed)
