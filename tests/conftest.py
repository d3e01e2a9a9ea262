"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch

from equireann_pyg import EquiREANN, Potential, edge_vectors
from equireann_pyg.files import user_cache
from equireann_pyg.nn import Equivariant, PolynomialCutoff
from equireann_pyg.ops import load_kernels
from equireann_pyg.testing import randomize, sample_graphs
from tests.copper import write_frames

SHARE = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
"""Threads of a process of tests: several that take all processors each wait for each other."""

torch.set_num_threads(SHARE)
os.environ.setdefault("OMP_NUM_THREADS", str(SHARE))  # of what the tests start
os.environ.setdefault("EQUIREANN_KERNELS", str(user_cache() / "kernels"))  # also where a test moves the cache folder


@pytest.fixture(autouse=True)
def _seed() -> None:
    """The same random numbers in every run and every order of the tests."""
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """Runs a test in both types of arithmetic; the type is torch's default during the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.fixture
def double() -> Iterator[torch.dtype]:
    """Runs a test in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture
def make_potential() -> Callable[..., Potential]:
    """Builds a small potential with random parameters and statistics, in torch's default type."""

    def make(kind: type[EquiREANN] = EquiREANN, cutoff: float = 3.0, **kwargs: Any) -> Potential:
        sizes = {"num_radial": 4, "num_density": 8, "hidden_channels": [8, 8], "envelope": PolynomialCutoff()}
        model = kind(["H", "C"], cutoff, **(sizes | kwargs))
        randomize(model)
        batch = Batch.from_data_list(sample_graphs(model.elements, cutoff))
        model.fit_statistics(batch.z, batch.edge_index, edge_vectors(batch).to(model.coefficient.dtype))
        for rule in model.rules:
            if isinstance(rule, Equivariant):
                rule.strength.fill_(2 * rule.strength.max())  # strong messages, which tests notice
        potential = Potential(model)
        potential.set_references({"H": -3.0, "C": 5.0}, scale=2.0)
        return potential

    return make


@pytest.fixture
def kernels() -> None:
    """Skips a test where the kernels cannot be compiled."""
    if not load_kernels():
        pytest.skip("no C++ compiler")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def train(tmp_path: Path) -> str:
    """File of 20 copper frames."""
    return str(write_frames(tmp_path / "train.xyz", count=20))


@pytest.fixture
def val(tmp_path: Path) -> str:
    """File of 5 other copper frames."""
    return str(write_frames(tmp_path / "val.xyz", count=5, seed=1))
