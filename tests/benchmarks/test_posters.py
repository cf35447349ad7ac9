"""Films ranked by their posters, on made ones: the protocol, the reading, and what is made of trials."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.claims import load
from benchmarks.images import measured, posters
from benchmarks.images.cold_items import NUM_FOLDS, judge, make_folds, user_auc
from benchmarks.images.films import colour_histogram, read_films
from benchmarks.images.posters import ARMS, METADATA, Trial, claim, plan, summarise


def encode(colour, size=(6, 9)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def directory(tmp_path):
    """Four films, of which one has no poster, and three users."""
    (tmp_path / "films.csv").write_text(
        "film,title,year,genres,poster\n"
        '10,A,1995,Comedy|War,10.png\n20,B,1972,War,20.png\n30,C,,,\n40,"D, E",1931,,40.png\n'
    )
    (tmp_path / "ratings.csv").write_text("user,film,rating\n5,20,1\n7,10,5\n7,30,4\n9,40,2\n9,10,3\n")
    with tarfile.open(tmp_path / "posters.tar", "w") as archive:
        for name, colour in (("10.png", "red"), ("20.png", "blue"), ("40.png", "black")):
            content, member = encode(colour), tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return tmp_path


# --- Films ------------------------------------------------------------------------------------------------


def test_films_without_a_poster_are_left_out(directory):
    films = read_films(directory, 9)
    assert films.ratings.tolist() == [[False, True, False], [True, False, False], [True, False, True]]
    assert films.posters.shape == (3, 9, 9, 3)
    assert films.posters[0, 4, 4].tolist() == [255, 0, 0]
    assert films.posters[0, 4, 0].tolist() == [255, 255, 255]  # shown whole, beside it white
    assert films.genres.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert films.years.sum(axis=1).tolist() == [1, 1, 1]
    assert len({tuple(row) for row in films.years.tolist()}) == 3  # 1995, the seventies, before 1950
    assert films.digest == read_films(directory, 9).digest != read_films(directory, 6).digest


def test_a_histogram_counts_hue_saturation_and_value():
    # Red has hue 0, and all of saturation and value: the box (0, 3, 3) of 8 x 4 x 4.
    histogram = colour_histogram(encode("red"))
    assert histogram[0 * 16 + 3 * 4 + 3] == 1.0
    assert histogram.sum() == 1.0
    assert colour_histogram(encode("black"))[0] == 1.0


def test_a_missing_file_names_the_command(tmp_path):
    with pytest.raises(ValueError, match="must hold films.csv.*Run recsys-ssl data movielens-100k-posters"):
        read_films(tmp_path, 8)


# --- The protocol -----------------------------------------------------------------------------------------


def test_auc_of_users():
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]])
    chosen = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    # The first has 3 of 4 pairs right; of the second one is equal, one right and one wrong; the others have no pair.
    assert user_auc(scores, chosen).tolist() == [3 / 4, (0.5 + 1 + 0) / 3]


def make_ratings(rng, num_users=60, num_films=120):
    """Each film is of one of two kinds, and each user mostly rates one kind."""
    kinds, tastes = np.arange(num_films) % 2, np.arange(num_users) % 2
    odds = np.where(tastes[:, np.newaxis] == kinds, 0.6, 0.05)
    return rng.random([num_users, num_films]) < odds, kinds


def test_folds_hold_out_each_film_once_and_never_fit_to_it():
    ratings, _ = make_ratings(np.random.default_rng(0))
    folds = make_folds(ratings, 0)
    assert sorted(np.concatenate([outer.held_out for _, outer in folds]).tolist()) == list(range(120))
    for inner, outer in folds:
        assert not set(outer.held_out) & set(outer.fitted)
        assert not set(inner.held_out) & set(inner.fitted)
        assert not set(outer.held_out) & (set(inner.held_out) | set(inner.fitted))
        np.testing.assert_array_equal(outer.chosen, ratings[:, outer.held_out])
        # The best approximation of rank 24: its error is that of the singular values left out.
        known = ratings[:, outer.fitted].astype(float)
        left = np.linalg.svd(known, compute_uv=False)[24:]
        error = np.linalg.norm(known - outer.users @ outer.factors.T)
        assert error == pytest.approx(np.linalg.norm(left))


def test_what_tells_the_kind_is_found_and_noise_is_not():
    rng = np.random.default_rng(1)
    ratings, kinds = make_ratings(rng)
    folds = make_folds(ratings, 0)
    told, noise = kinds[:, np.newaxis] + 0.1 * rng.normal(size=[120, 3]), rng.normal(size=[120, 3])
    by_kind, by_noise = judge(told, folds), judge(noise, folds)
    assert np.mean(by_kind.test) > 0.8
    assert abs(np.mean(by_noise.test) - 0.5) < 0.1
    # A second block that knows more is taken up.
    both = judge(noise, folds, told)
    assert np.mean(both.test) > 0.75
    assert min(both.scales) > 0
    assert by_kind.scales == [0.0] * NUM_FOLDS


# --- The study --------------------------------------------------------------------------------------------


def make_trials(of_arms):
    """Arm -> [num_seeds] offsets from the base AUC of each fold."""
    base = np.array([0.50, 0.52, 0.54, 0.56, 0.58])
    return [
        Trial(arm, seed, "d", validation=(base + offset).tolist(), test=(base + offset).tolist())
        for arm, offsets in of_arms.items()
        for seed, offset in enumerate(offsets)
    ]


def test_validation_chooses_and_the_gain_is_paired_by_fold(tmp_path):
    trials = make_trials(
        {"histogram": [0.0], "random": [-0.01], "contrast": [0.01, 0.05], METADATA: [0.2], "metadata_contrast": [0.21]}
    )
    found = summarise(trials)
    rows = {row["arm"]: row for row in found["rows"]}
    assert found["chosen"] == "contrast"
    assert rows["contrast"]["test"][0] == pytest.approx(0.54 + 0.03)
    assert rows["contrast"]["gain"] == pytest.approx([0.03, 0.03, 0.03])  # the same in every fold
    assert rows["metadata_contrast"]["bar"] == METADATA
    assert rows["metadata_contrast"]["gain"] == pytest.approx([0.01, 0.01, 0.01])
    # Student's of five folds: 2.776 * 0.03162 / sqrt(5).
    assert rows["histogram"]["test"] == pytest.approx([0.54, 0.54 - 0.0393, 0.54 + 0.0393], abs=2e-4)
    claim(found, tmp_path)
    (recorded,) = load(tmp_path / "images.json")
    assert (recorded.id, recorded.value) == ("cold_image_auc", 0.57)
    assert "histogram of colours has 0.540" in recorded.what
    assert "**contrast**" in measured.render_posters(found)


def test_only_encoders_have_seeds_and_settings_name_a_trial():
    assert plan("roots", 1, "d") is None
    assert plan("contrast", 1, "d").settings["steps"] > plan("random", 1, "d").settings["steps"] == 0
    keys = [plan(arm, 0, "d").key for arm in ARMS]
    assert len(set(keys)) == len(keys)


def test_the_command_runs_a_trial_once_and_keeps_its_vectors(directory, tmp_path, monkeypatch, capsys):
    ratings, kinds = make_ratings(np.random.default_rng(0))
    films = read_films(directory, 8)._replace(
        ratings=ratings,
        posters=np.zeros([120, 8, 8, 3], np.uint8)
        + (200 * kinds).astype(np.uint8)[:, np.newaxis, np.newaxis, np.newaxis],
        histograms=np.eye(2)[kinds],
        genres=np.eye(2)[kinds[::-1]],
        years=np.ones([120, 1]),
    )
    monkeypatch.setattr(posters, "read_films", lambda *_: films)
    monkeypatch.setattr(posters, "SIZE", 8)
    monkeypatch.setattr(posters, "_PRETRAINING", {"batch_size": 16, "patch": 4, "steps": 1, "dim": 8, "depth": 1})
    arguments = ["--arms", "histogram", "random", METADATA, "--seeds", "2", "--work", str(tmp_path / "work")]
    assert posters.main(arguments, tmp_path) == 0
    lines = (tmp_path / "images" / "posters.jsonl").read_text().splitlines()
    assert [json.loads(line)["arm"] for line in lines] == ["histogram", "random", METADATA, "random"]
    assert len(list((tmp_path / "work").iterdir())) == 2
    assert load(tmp_path / "images.json")[0].value > 0.75  # light and dark posters are told apart
    assert posters.main(arguments, tmp_path) == 0
    assert (tmp_path / "images" / "posters.jsonl").read_text().splitlines() == lines


def test_a_missing_data_set_is_one_line(tmp_path, capsys):
    assert posters.main(["--data", str(tmp_path / "none")], tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 1
