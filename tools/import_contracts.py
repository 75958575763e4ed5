"""The import rules that import-linter has no contract for; `pyproject.toml` puts them to use."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateModules(Contract):
    """A module of one of these names is for its own package, whichever packages there are.

    So a feature added tomorrow is held to it without another line of configuration. `open_to`
    names packages that may reach in all the same.
    """

    root = fields.StringField()
    names = fields.SetField(subfield=fields.StringField())
    open_to = fields.SetField(subfield=fields.StringField(), required=False, default=set())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the linter's signature
        """Find imports from outside."""
        trespasses = []
        for module in sorted(graph.modules):
            package, _, name = module.rpartition(".")
            if name not in self.names or package in ("", self.root):  # type: ignore[operator]
                continue
            welcome = (package, *self.open_to)  # type: ignore[misc]
            trespasses += [
                (importer, module)
                for importer in sorted(graph.find_modules_that_directly_import(module))
                if not any(f"{importer}.".startswith(f"{one}.") for one in welcome)
            ]
        return ContractCheck(kept=not trespasses, metadata={"trespasses": trespasses})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name each import and where it happens."""
        for importer, module in check.metadata["trespasses"]:
            output.print_error(f"{importer} imports {module}: call that feature's service instead.")


class OnlyImports(Contract):
    """`package` leans on nothing of the product but what is named in `allowed`."""

    root = fields.StringField()
    package = fields.StringField()
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the linter's signature
        """Find imports of anything else; a package that doesn't exist keeps the rule."""
        package = str(self.package)
        inside = [m for m in sorted(graph.modules) if f"{m}.".startswith(f"{package}.")]
        welcome = (package, *self.allowed)  # type: ignore[misc]
        trespasses = [
            (importer, module)
            for importer in inside
            for module in sorted(graph.find_modules_directly_imported_by(importer))
            if module != str(self.root)
            and not any(f"{module}.".startswith(f"{w}.") for w in welcome)
        ]
        return ContractCheck(kept=not trespasses, metadata={"trespasses": trespasses})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name each import and where it happens."""
        for importer, module in check.metadata["trespasses"]:
            output.print_error(f"{importer} imports {module}, which {self.package} must not need.")
