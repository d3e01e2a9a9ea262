"""Checks that hold for any interatomic potential, for the tests of this package and of its extensions.

A new model is covered by three lines::

    potential = Potential(MyModel(elements=["H", "C"], cutoff=4.0))
    randomize(potential)  # a fresh model may predict zero, which is too easy
    assert_potential(potential)

Or all findings at once: ``print(check_model(MyModel(elements=["H", "C"], cutoff=4.0)))``.

Errors are relative to the largest value compared, and that value must not be tiny: no check passes on zeros.
"""

from equireann_pyg.testing.checks import (
    TOLERANCE,
    assert_additive,
    assert_batching,
    assert_close,
    assert_conservative,
    assert_equivariant,
    assert_permutation,
    assert_potential,
    assert_pure,
    assert_smooth_at_cutoff,
    assert_trainable,
    assert_translation,
    predict,
)
from equireann_pyg.testing.contract import ModelReport, assert_atomic_energies, check_model
from equireann_pyg.testing.structures import (
    make_graph,
    random_cluster,
    random_crystal,
    random_orthogonal,
    randomize,
    representation,
    sample_graphs,
)

__all__ = [
    "TOLERANCE",
    "ModelReport",
    "assert_additive",
    "assert_atomic_energies",
    "assert_batching",
    "assert_close",
    "assert_conservative",
    "assert_equivariant",
    "assert_permutation",
    "assert_potential",
    "assert_pure",
    "assert_smooth_at_cutoff",
    "assert_trainable",
    "assert_translation",
    "check_model",
    "make_graph",
    "predict",
    "random_cluster",
    "random_crystal",
    "random_orthogonal",
    "randomize",
    "representation",
    "sample_graphs",
]
