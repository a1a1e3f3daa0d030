"""The leaves of a tree of JAX by the paths of `specdesc.trees`, in the order of JAX."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from specdesc import trees
from specdesc._lib.typing import Array


class Parameters(NamedTuple):
    """A tree taken apart.

    Attributes
    ----------
    paths : tuple of str
        As in `specdesc.trees`; a box around an array, such as a variable of Flax, has no name.
    leaves : list of array
        In the order of JAX, which sorts dictionaries.
    form : PyTreeDef
        What JAX makes trees with.
    """

    paths: tuple[str, ...]
    leaves: list[Array]
    form: Any

    def by_path(self) -> dict[str, Array]:
        """Return the leaves as a flat tree."""
        return dict(zip(self.paths, self.leaves, strict=True))


def has_numbers(x: Array, /) -> bool:
    """Say whether a leaf holds real or complex floating numbers: all else stays as it is."""
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def parameters_of(tree: Any, /) -> Parameters:
    """Take a tree apart.

    Raises
    ------
    ValueError
        If two leaves have one path.
    """
    leaves, form = jax.tree.flatten(tree)
    # A NumPy array becomes one of JAX; shapes alone, where nothing is computed, stay so.
    arrays = [x if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x) for x in leaves]
    # One stand-in a leaf, so that shared arrays are told apart.
    marks = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    paths = {id(mark): path for path, mark in trees.leaves(form.unflatten(marks)).items()}
    return Parameters(tuple(paths[id(mark)] for mark in marks), arrays, form)
