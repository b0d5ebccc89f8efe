"""
Mutants of Python: operators, conditions, constants, results, and statements left out.

Found in the syntax tree, applied to the text. What only talks (logging, docstrings, annotations) is left alone.
"""

import ast
from collections.abc import Iterator
from typing import Final, TypeGuard

from scripts.mutation.mutants import Mutant, Unit

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
_MODULE: Final = "(module)"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def read(file: str, text: str) -> tuple[list[Unit], list[Mutant]]:
    tree = ast.parse(text)
    offsets = _Offsets(text)
    units, mutants, rest = [], [], []
    for name, node in _parts(tree):
        if name == _MODULE:
            rest.append(node)
        else:
            units.append(Unit(name, _code(node)))
        mutants += [Mutant(file, *offsets.of(old), new, name) for old, new in _edits(node)]
    units.append(Unit(_MODULE, "\n".join(_code(node) for node in rest)))
    return units, mutants


class _Offsets:
    """Characters of the text, from the lines and bytes of the tree."""

    def __init__(self, text: str) -> None:
        self._lines = [line.encode() for line in text.splitlines(keepends=True)]
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def of(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1][:column].decode())


def _parts(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield (f"{node.name}.{inner.name}" if isinstance(inner, _Function) else _MODULE), inner
        else:
            yield (node.name if isinstance(node, _Function) else _MODULE), node


def _code(node: ast.stmt) -> str:
    """Without comments and docstrings: what remains is what runs."""
    copy = ast.parse(ast.unparse(node))
    for one in ast.walk(copy):
        if isinstance(one, _Function | ast.ClassDef) and _is_doc(one.body[0]):
            one.body = one.body[1:] or [ast.Pass()]
    return ast.unparse(copy)


def _is_doc(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _talks(node: ast.AST) -> bool:
    """A line of the log."""
    if not isinstance(node, ast.Call):
        return False
    root: ast.expr = node.func
    while isinstance(root, ast.Attribute | ast.Call):
        root = root.value if isinstance(root, ast.Attribute) else root.func
    return isinstance(root, ast.Name) and root.id == "logger"


def _edits(node: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    if _talks(node) or _is_doc(node) or isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.stmt):
        yield from _left_out(node)
    if isinstance(node, ast.expr):
        yield from ((node, f"({new})") for new in _changed(node))
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _edits(child)


def _left_out(node: ast.stmt) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    if isinstance(node, ast.Expr):
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and not _talks(call):
            yield node, "pass"
    elif (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)) or isinstance(
        node, ast.AugAssign | ast.Raise | ast.Delete
    ):
        yield node, "pass"
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield node, "return None"
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
        yield node.test, f"(not ({ast.unparse(node.test)}))"


def _is_none(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and node.value is None


def _changed(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(left, ops, comparators):
            for nth, op in enumerate(ops):
                others = [*ops[:nth], _COMPARED[type(op)](), *ops[nth + 1 :]]
                yield ast.unparse(ast.Compare(left, others, comparators))
        case ast.BoolOp(op, values):
            yield ast.unparse(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values))
            for nth in range(len(values)):
                kept = [*values[:nth], *values[nth + 1 :]]
                yield ast.unparse(kept[0] if len(kept) == 1 else ast.BoolOp(op, kept))
        case ast.UnaryOp(ast.Not(), operand):
            yield ast.unparse(operand)
        case ast.BinOp(left, op, right) if type(op) in _COMPUTED:
            yield ast.unparse(ast.BinOp(left, _COMPUTED[type(op)](), right))
        case ast.IfExp(test, body, orelse):
            yield ast.unparse(ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse))
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int() | float() as value):
            yield repr(value + 1)
        case _:
            return
