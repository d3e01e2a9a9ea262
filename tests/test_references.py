from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Data

from equireann_pyg.training.references import fit_reference_energies, force_scale

NAN = float("nan")


def frame(composition: dict[int, int], energy: float = NAN, forces: float | torch.Tensor = NAN) -> Data:
    """A graph with atoms of the given numbers, energy in eV and forces in eV/Angstrom."""
    z = torch.tensor([number for number, count in composition.items() for _ in range(count)])
    values = torch.full((len(z), 3), forces, dtype=torch.float64) if isinstance(forces, float) else forces
    return Data(z=z, energy=torch.tensor([energy], dtype=torch.float64), forces=values)


def test_recovers_exact_references_of_large_energies():
    truth = {1: -13.587222780835477, 6: -1029.4889999855063, 8: -2041.9816003861047}
    compositions = [{1: 4, 6: 1}, {1: 2, 8: 1}, {6: 1, 8: 2}, {1: 4, 6: 1, 8: 1}, {1: 60, 6: 60, 8: 30}]
    frames = [frame(c, sum(n * truth[z] for z, n in c.items())) for c in compositions]
    fitted = fit_reference_energies(frames)
    assert list(fitted) == [1, 6, 8]
    assert fitted == pytest.approx(truth, rel=1e-11)


def test_is_the_least_squares_solution():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 9, (30, 2), generator=generator)
    noise = torch.randn(30, generator=generator, dtype=torch.float64)
    energies = counts.double() @ torch.tensor([-3.0, 7.0], dtype=torch.float64) + noise
    frames = [frame({1: int(h), 6: int(c)}, float(e)) for (h, c), e in zip(counts, energies, strict=True)]
    fitted = fit_reference_energies(frames)
    expected = torch.linalg.lstsq(counts.double(), energies.unsqueeze(1)).solution.squeeze()
    assert [fitted[1], fitted[6]] == pytest.approx(expected.tolist(), rel=1e-9)
    assert abs(fitted[1] + 3.0) > 1e-3  # the noise is felt
    residual = energies - counts.double() @ torch.tensor([fitted[1], fitted[6]], dtype=torch.float64)
    assert float((counts.double().T @ residual).abs().max()) < 1e-9 * float(energies.abs().max())


def test_one_composition_gives_all_elements_the_mean():
    fitted = fit_reference_energies([frame({1: 4, 6: 1}, -40.0), frame({1: 4, 6: 1}, -41.0)])
    assert fitted == pytest.approx({1: -8.1, 6: -8.1}, rel=1e-12)


def test_what_the_compositions_do_not_tell_stays_near_the_mean():
    # H and O only ever as water: their sum is known, the rest is closest to the same energy for every atom.
    frames = [frame({1: 2, 8: 1, 29: n}, -30.0 - 5.0 * n) for n in (0, 1, 2, 3)]
    fitted = fit_reference_energies(frames)
    assert fitted[29] == pytest.approx(-5.0, rel=1e-9)
    assert 2 * fitted[1] + fitted[8] == pytest.approx(-30.0, rel=1e-9)
    mean = sum(-30.0 - 5.0 * n for n in (0, 1, 2, 3)) / (3 * 4 + 6)
    # the shortest correction to the mean is along the known composition (2, 1)
    assert (fitted[1] - mean) == pytest.approx(2 * (fitted[8] - mean), rel=1e-9)


def test_frames_without_energy_are_left_out():
    frames = [frame({1: 2}, -6.0), frame({1: 1, 8: 1}), frame({1: 4}, -12.0)]
    fitted = fit_reference_energies(frames)
    assert fitted[1] == pytest.approx(-3.0, rel=1e-12)
    assert fitted[8] == pytest.approx(-3.0, rel=1e-12)  # never seen with an energy: the mean
    assert fit_reference_energies(iter(frames)) == fitted  # any iterable


@pytest.mark.parametrize("frames", [[], [frame({1: 2}), frame({6: 1})]])
def test_no_energy_at_all(frames):
    with pytest.raises(ValueError, match="no frame has an energy"):
        fit_reference_energies(frames)


def test_force_scale_is_the_root_mean_square():
    forces = [torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor([[1.0, -2.0, 2.0], [0.0, 0.0, 2.0]])]
    frames = [frame({1: 1}, forces=forces[0]), frame({1: 2}, forces=forces[1]), frame({1: 5})]
    assert force_scale(frames, {1: 0.0}) == pytest.approx((38 / 9) ** 0.5, rel=1e-12)
    frames[1].forces[0] = NAN  # labels of single atoms may be missing
    assert force_scale(frames, {1: 0.0}) == pytest.approx((29 / 6) ** 0.5, rel=1e-12)


def test_force_scale_without_forces_is_the_spread_of_the_energies():
    frames = [frame({1: 4}, -10.0), frame({1: 4}, -14.0), frame({1: 9}, -27.0 + 6.0), frame({1: 1})]
    # per root of atoms: 2/2, -2/2, 6/3 eV around -3 eV per atom
    assert force_scale(frames, {1: -3.0}) == pytest.approx((6 / 3) ** 0.5, rel=1e-12)


def test_force_scale_is_never_zero():
    assert force_scale([frame({1: 2}, -6.0, 0.0)], {1: -3.0}) == 1.0
    assert force_scale([frame({1: 2})], {1: -3.0}) == 1.0
    assert force_scale([], {}) == 1.0
