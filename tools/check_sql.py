"""SQL stands in `queries.py` and `tables.py`, and in the packages that are about the database.

`make lint` runs it. Whoever reads a feature's queries then knows everything the database is asked.
It looks for statements in string literals, for the parts of SQLAlchemy that build them, and for
calls that send them.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FILES = {"queries.py", "tables.py"}
PACKAGES = {"db", "seeding", "bench", "ops"}
ADAPTERS = {Path("local/postgres.py")}
"""Makes the embedded server's database, before there is anything else that could."""

BUILDERS = {
    *("select", "insert", "update", "delete", "text", "func", "union", "union_all", "exists"),
    *("values", "bindparam", "literal_column", "tuple_", "case", "cast", "and_", "or_", "not_"),
}
SENDERS = {"execute", "executemany", "exec_driver_sql", "scalars", "fetch", "fetchrow", "fetchval"}

STATEMENT = re.compile(
    r"""\s*(?:
        SELECT\b.+\bFROM\b | SELECT\s+[\w.]+\( | INSERT\s+INTO\b | UPDATE\s+\w+\s+SET\b
      | DELETE\s+FROM\b | MERGE\s+INTO\b | WITH\s+\w+\s+AS\b | TRUNCATE\s+\w | COPY\s+\w+
      | (?:CREATE|ALTER|DROP)\s+(?:TABLE|INDEX|UNIQUE|DATABASE|SCHEMA|SEQUENCE|VIEW|EXTENSION|ROLE)
      | LOCK\s+TABLE\b | SET\s+(?:LOCAL|SESSION)\b
    )""",
    re.VERBOSE | re.DOTALL,
)


def main(roots: Sequence[str]) -> int:
    """Check every Python file below `roots`; return the exit code."""
    faults = [fault for root in roots for fault in faults_below(Path(root))]
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    if faults:
        sys.stdout.write("SQL belongs in the feature's queries.py.\n")
    return 1 if faults else 0


def faults_below(root: Path) -> Iterator[str]:
    """Check the files that may hold no SQL, each fault as `file:line: what`."""
    for path in sorted(root.rglob("*.py")):
        inner = path.relative_to(root)
        if inner.name not in FILES and inner.parts[0] not in PACKAGES and inner not in ADAPTERS:
            source = path.read_text(encoding="utf-8")
            for line, what in sorted(faults_in(source)):
                yield f"{path}:{line}: {what}"


def faults_in(source: str) -> Iterator[tuple[int, str]]:
    """Find SQL in a module's source, each with its line."""
    tree = ast.parse(source)
    prose = {id(text) for text in _docstrings(tree)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if _is_sqlalchemy(module):
                for builder in sorted({alias.name for alias in names} & BUILDERS):
                    yield node.lineno, f"imports {builder} of {module}"
            case ast.Import(names=names) if any(_is_sqlalchemy(alias.name) for alias in names):
                yield node.lineno, "imports sqlalchemy as a whole"
            # Without arguments it is a Valkey pipeline that is sent.
            case ast.Call(func=ast.Attribute(attr=sender), args=[_, *_]) if sender in SENDERS:
                yield node.lineno, f"calls .{sender}()"
            case ast.Constant(value=str(text)) if id(node) not in prose and STATEMENT.match(text):
                yield node.lineno, f"holds a statement: {' '.join(text.split())[:40]}"


def _is_sqlalchemy(module: str) -> bool:
    return module.split(".")[0] == "sqlalchemy"


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string that stands as a statement of its own: nothing can be done with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["src/mercenary"]))
