import numpy as np

from benchmarks.claims import load
from benchmarks.clustering import __main__ as command
from benchmarks.clustering import beam


def test_the_claim_is_the_difference_that_was_measured(tmp_path, monkeypatch, capsys):
    """One arm is moved by a known step, the other is real."""
    arguments = ["beam", "--rows", "300", "--dim", "3", "--clusters", "3", "--iterations", "2"]
    in_memory = beam.iterate_in_memory
    monkeypatch.setattr(beam, "iterate_in_memory", lambda *given: in_memory(*given) + 0.25)
    assert command.main(arguments, tmp_path) == 0
    (claim,) = load(tmp_path / "clustering.json")
    assert claim.id == "beam_vs_memory_max_diff"
    assert abs(claim.value - 0.25) < 1e-4
    assert claim.command == "python -m benchmarks.clustering " + " ".join(arguments)
    assert "largest difference 0.25" in capsys.readouterr().out


def test_rows_are_of_the_seed_and_of_centres_that_overlap():
    rows = beam.draw_rows(4000, 5, 3, seed=1)
    assert np.array_equal(rows, beam.draw_rows(4000, 5, 3, seed=1))
    assert 0.9 < rows.std() < 1.4
    start = rows[:3].astype(np.float64)
    moves = [beam.iterate_in_memory(rows, start, rounds) for rounds in (5, 6)]
    assert np.abs(moves[1] - moves[0]).max() > 1e-4  # not settled after a few rounds
