"""The capability table of a backend: one file, read by the code, the docs and the tests."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files


@dataclass(frozen=True)
class Capabilities:
    """What one backend can do, as declared in the ``capabilities.toml`` of its leaf.

    Attributes
    ----------
    distribution : str
        The distribution that provides the library, for `importlib.metadata.version`.
    minimum : str
        The oldest version that the leaf is written for.
    dtypes : tuple of str
        Names of the dtypes that the functions take.
    branches : str
        Where code may look at values, in words.
    notes : tuple of str
        In what the functions differ here from the other libraries.
    unsupported : mapping from str to str
        Public functions that raise `NotImplementedError` here, with the reason.
    untraced : mapping from str to str
        Public functions that do not run under the library's tracer, with the reason.
    unverified : tuple of str
        What no committed result from a machine with this library has confirmed.
    """

    distribution: str
    minimum: str
    dtypes: tuple[str, ...]
    branches: str
    notes: tuple[str, ...] = ()
    unsupported: Mapping[str, str] = field(default_factory=dict)
    untraced: Mapping[str, str] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()

    @classmethod
    def read(cls, package: str, /) -> "Capabilities":
        """Read the table ``capabilities.toml`` that lies beside the leaf `package`."""
        table = tomllib.loads((files(package) / "capabilities.toml").read_text(encoding="utf-8"))
        return cls(
            distribution=table["distribution"],
            minimum=table["minimum"],
            dtypes=tuple(table["dtypes"]),
            branches=table["branches"],
            notes=tuple(table.get("notes", ())),
            unsupported=table.get("unsupported", {}),
            untraced=table.get("untraced", {}),
            unverified=tuple(table.get("unverified", ())),
        )
