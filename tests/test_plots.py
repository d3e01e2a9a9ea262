from __future__ import annotations

import sys

import matplotlib.image
import numpy as np
import pytest

from equireann_pyg.evaluation import plots


def line_colors(axis) -> dict[str, str]:
    return {line.get_label().split(":")[0]: line.get_color() for line in axis.lines if line.get_label()[0] != "_"}


def test_a_model_has_one_colour_in_all_pictures():
    _, axes = plots.figure(1, 3, 3, 3)
    x = np.linspace(0, 1, 7)
    models = {"REANN": x, "EquiREANN": 2 * x}
    plots.parity(axes[0, 0], x, models, "energy", "eV")
    plots.learning_curves(axes[0, 1], {name: (x, y) for name, y in reversed(models.items())}, "error")
    plots.torsion_profile(axes[0, 2], x, x, models, "C4H4")
    first, second, third = (line_colors(axis) for axis in axes[0])
    assert first == second == {name: third[name] for name in models}
    assert len(set(first.values())) == 2
    assert len(plots.colors(map(str, range(9)))) == 9  # more than there are colours


@pytest.mark.parametrize(
    ("value", "text"), [(1088.3, "1090"), (2.5, "2.5"), (0.0123456, "0.0123"), (61.44, "61.4"), (0.0, "0")]
)
def test_three_digits(value, text):
    assert plots.three_digits(value) == text


def test_parity_ignores_what_is_unknown():
    _, axes = plots.figure(1, 1, 3, 3)
    reference = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0]])
    prediction = reference + np.array([[0.003, -0.004, 9.0], [np.nan, 0.0, 0.0]])
    plots.parity(axes[0, 0], reference, {"model": prediction}, "force", "eV/Å")
    points, diagonal = axes[0, 0].lines
    assert points.get_label() == "model: 2.5 meV/Å"  # root of (9 + 16) / 4
    np.testing.assert_array_equal(points.get_xdata(), [0, 1, 3, 4])
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert axes[0, 0].get_xlim() == axes[0, 0].get_ylim() == tuple(diagonal.get_xdata())
    assert axes[0, 0].get_aspect() == 1
    assert axes[0, 0].get_xlabel() == "reference force (eV/Å)"


@pytest.mark.parametrize(
    ("reference", "prediction"), [([], []), ([np.nan], [1.0]), ([1.0, 2.0], [1.0]), ([[1.0], [2.0]], [1.0, 2.0])]
)
def test_parity_of_nothing(reference, prediction):
    _, axes = plots.figure(1, 1, 3, 3)
    with pytest.raises(ValueError, match="parity of energy: nothing to draw"):
        plots.parity(axes[0, 0], reference, {"model": prediction}, "energy", "eV")


def test_parity_of_a_single_value(tmp_path):
    picture, axes = plots.figure(1, 1, 3, 3)
    plots.parity(axes[0, 0], [1.0], {"model": [1.0]}, "energy", "eV")
    plots.save(picture, tmp_path / "one.png")
    low, high = axes[0, 0].get_xlim()
    assert low < 1 < high


def test_torsion_profiles_start_at_zero():
    _, axes = plots.figure(1, 1, 3, 3)
    angle, energy = np.linspace(0, 60, 7), np.linspace(-100, -99, 7)
    plots.torsion_profile(axes[0, 0], angle, energy, {"EquiREANN": energy + 0.1}, "C4H4")
    reference, model = axes[0, 0].lines
    np.testing.assert_allclose(reference.get_ydata(), np.linspace(0, 1, 7), atol=1e-12)
    np.testing.assert_allclose(model.get_ydata(), np.linspace(0.1, 1.1, 7), rtol=1e-9)
    assert (reference.get_label(), model.get_label()) == ("DFT", "EquiREANN")


def test_learning_curve_of_a_metrics_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/forces_rmse\n0,1,5.0,\n0,1,,300.0\n1,3,4.0,\n1,3,,200.0\n,4,,1.0\n")
    curve = plots.read_curve(path, "val/forces_rmse")
    assert curve == ([0.0, 1.0], [300.0, 200.0])
    with pytest.raises(ValueError, match=r"metrics.csv: no values of 'val/energy'; there are epoch, step, train/loss"):
        plots.read_curve(path, "val/energy")
    picture, axes = plots.figure(1, 1, 4, 3)
    plots.learning_curves(axes[0, 0], {"model": curve}, "forces RMSE (meV/Å)")
    plots.save(picture, tmp_path / "curve.png")
    labels = [label.get_text() for label in axes[0, 0].get_yticklabels()]
    assert "200" in labels
    assert axes[0, 0].get_yscale() == "log"


def test_pictures_are_whole_and_sharp(tmp_path, monkeypatch):
    picture, axes = plots.figure(2, 3, 2.0, 1.5)
    assert axes.shape == (2, 3)
    plots.save(picture, tmp_path / "new" / "folder" / "a.png")
    assert matplotlib.image.imread(tmp_path / "new" / "folder" / "a.png").shape[:2] == (600, 1200)  # 200 dots per inch

    def broken(path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture, "savefig", broken)
    with pytest.raises(OSError, match="No space"):
        plots.save(picture, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_no_state_of_pyplot():
    plots.figure(1, 1, 2, 2)
    loaded = sys.modules.get("matplotlib.pyplot")
    assert loaded is None or loaded.get_fignums() == []
