"""The study of clusters on made vectors: files, judging, what is chosen and related, and what is written."""

import math

import numpy as np
import pytest

from benchmarks.claims import load
from benchmarks.clustering import __main__ as command
from benchmarks.clustering import molecules, study, summary, tables, trials, vector_files
from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.trials import Trial
from benchmarks.clustering.vector_files import VectorFile, Vectors
from recsys_ssl.evaluation.clustering import ClusterConfig, run_clustering
from recsys_ssl.evaluation.labels import TEST, TRAIN, encode
from recsys_ssl.evaluation.vectors import from_array

IMAGES = DOMAINS["images"]


def make_vectors(distance, num=90, dim=6, seed=0):
    """Three clouds whose centres are so far apart, in standard deviations of a coordinate."""
    rng = np.random.default_rng(seed)
    of = np.arange(num) % 3
    rows = distance * np.eye(3, dim)[of] + rng.normal(size=(num, dim)) + 1.0
    return vector_files.split(rows, of.astype(str), np.arange(num) % 5 == 4)


@pytest.fixture
def directory(tmp_path):
    to = tmp_path / "vectors"
    for arm, distance in (("pixels", 2.0), ("random", 1.0), ("contrast", 20.0), ("reconstruction", 1.5)):
        for seed in range(2):
            vector_files.write(to, arm, seed, make_vectors(distance, seed=seed))
    return to


# --- Files -------------------------------------------------------------------------------------------


def test_files_are_listed_by_arm_and_seed_and_read_as_they_were_written(directory):
    found = vector_files.list_files(directory, IMAGES)
    assert [(file.arm, file.seed) for file in found] == [
        (arm, seed) for arm in ("pixels", "random", "reconstruction", "contrast") for seed in (0, 1)
    ]
    made = make_vectors(2.0)
    read = vector_files.read(found[0].path)
    for ours, theirs in zip(made, read):
        np.testing.assert_array_equal(ours, theirs)
    assert vector_files.hash_file(found[0].path) != vector_files.hash_file(found[1].path)


def test_a_directory_below_is_a_budget(tmp_path):
    for budget, arm in (("0", "pixels"), ("720", "contrast"), ("150", "contrast")):
        vector_files.write(tmp_path / budget, arm, 3, make_vectors(1.0))
    found = vector_files.list_files(tmp_path, IMAGES)
    assert [(file.arm, file.seed) for file in found] == [("pixels", 3), ("contrast@150", 3), ("contrast@720", 3)]
    assert IMAGES.name("contrast@720") == "contrast of clean views, 720 core-seconds"
    assert [IMAGES.is_floor(file.arm) for file in found] == [True, False, False]


def test_some_rows_of_train_are_the_same_in_all_files(tmp_path):
    rows = np.arange(40.0)[:, None] * np.ones([1, 2])
    for arm in ("pixels", "contrast"):
        labels = np.arange(40).astype(str)
        vector_files.write(tmp_path, arm, 0, Vectors(rows.astype(np.float32), labels, rows[:3], labels[:3]))
    first, second = (vector_files.read(file.path, 10) for file in vector_files.list_files(tmp_path, IMAGES))
    assert first.train[:, 0].tolist() == second.train[:, 0].tolist() == first.train_labels.astype(float).tolist()
    assert first.train.shape == (10, 2)
    assert sorted(set(first.train[:, 0])) == first.train[:, 0].tolist() != list(range(10))
    assert len(first.test) == 3


def test_narrow_numbers_and_classes_are_read_too(tmp_path):
    narrow = {"train": np.eye(3, dtype=np.float16), "test": np.eye(3, dtype=np.float16)[:2]}
    np.savez(tmp_path / "contrast-10.npz", **narrow, train_labels=np.arange(3, dtype=np.uint8), test_labels=[0, 2])
    (file,) = vector_files.list_files(tmp_path, IMAGES)
    read = vector_files.read(file.path)
    assert (file.seed, read.train.dtype, read.test_labels.tolist()) == (10, np.float32, ["0", "2"])


@pytest.mark.parametrize("name", ["contrast.npz", "contrast-a.npz", "other-0.npz", "some/contrast-0.npz"])
def test_a_file_of_another_name_is_an_error(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    np.savez(tmp_path / name, train=np.eye(2))
    with pytest.raises(ValueError, match="files ARM-SEED.npz or BUDGET/ARM-SEED.npz, ARM one of pixels, pca"):
        vector_files.list_files(tmp_path, IMAGES)


def test_a_directory_without_files_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="must hold files ARM-SEED.npz. Received: none"):
        vector_files.list_files(tmp_path, IMAGES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, "is damaged, or not whole. Received: no test in it"),
        ({"test": np.ones([2, 4])}, "test must be .* as wide as train"),
        ({"train_labels": np.zeros(4)}, "train must be .* a label a row"),
        ({"train": np.full([3, 3], np.nan)}, "must be finite. Received: others in train"),
    ],
    ids=["missing", "width", "labels", "NaN"],
)
def test_files_that_cannot_be_judged(tmp_path, change, message):
    arrays = {"train": np.eye(3), "train_labels": np.arange(3), "test": np.eye(3)[:2], "test_labels": np.arange(2)}
    np.savez(tmp_path / "v.npz", **{name: array for name, array in (arrays | change).items() if array is not None})
    with pytest.raises(ValueError, match=message):
        vector_files.read(tmp_path / "v.npz")


# --- Judging -----------------------------------------------------------------------------------------


def test_clouds_far_apart_are_found_with_and_without_labels(monkeypatch):
    monkeypatch.setattr(trials, "OVERCLUSTER", (1.0, 2.0))
    found = trials.judge(make_vectors(20.0), 0)
    assert found["sizes"] == [72, 18, 6, 3]
    assert found["probes"] == {"linear": 1.0, "nearest": 1.0, "few_shot": 1.0}
    for norm in ("plain", "l2"):
        assert list(found["clusters"][norm]) == ["1", "2"]
        assert found["clusters"][norm]["1"] == dict.fromkeys(
            ("accuracy", "accuracy_majority", "ari", "ami", "nmi", "train_accuracy"), 1.0
        )
        # Six clusters for three clouds: each is still of one class, and pairs are torn apart.
        assert found["clusters"][norm]["2"]["accuracy"] == 1.0
        assert found["clusters"][norm]["2"]["ari"] < 0.9
    assert list(found["components"]) == ["2", "4", "all"]
    assert found["components"]["2"] == 1.0  # three centres lie in a plane


def test_clusters_are_those_of_the_command(monkeypatch):
    monkeypatch.setattr(trials, "OVERCLUSTER", (1.0, 2.0))
    vectors = make_vectors(2.5)
    found, curve = trials.judge_clusters(vectors)
    table = from_array(np.concatenate([vectors.train, vectors.test]))
    of, part = encode([*vectors.train_labels, *vectors.test_labels]), np.repeat([TRAIN, TEST], [72, 18])
    for norm, over, components in (("plain", 1.0, None), ("plain", 2.0, None), ("l2", 2.0, None), ("plain", 1.0, 2)):
        config = ClusterConfig(over, trials.PROTOCOL["kmeans_seeds"], l2=norm == "l2", components=components)
        runs = run_clustering(table, of, part, config)[1]
        for name in ("accuracy", "ari", "nmi"):
            expected = np.mean([run.scores[name] for run in runs])
            if components is None:
                assert found[norm][f"{over:g}"][name] == pytest.approx(expected, abs=1e-5)
            elif name == "accuracy":
                assert curve[str(components)] == pytest.approx(expected, abs=1e-5)


def test_a_file_that_changed_meanwhile_is_an_error(tmp_path):
    path = vector_files.write(tmp_path, "contrast", 0, make_vectors(3.0))
    ((trial, _),) = trials.plan("images", [VectorFile(path, "contrast", 0)])
    vector_files.write(tmp_path, "contrast", 0, make_vectors(4.0))
    with pytest.raises(ValueError, match="written again"):
        trials.run_trial((trial, path))


# --- Compounds ---------------------------------------------------------------------------------------


def test_a_compound_is_of_the_target_that_it_binds_best(tmp_path):
    """T3 has one compound and is none of the two most frequent; the weak compound has no class."""
    rows = [("C" * place, {"T1": 7 + place, "T2": 6}) for place in range(1, 6)]
    rows += [("N" * place, {"T2": 8}) for place in range(1, 4)] + [("O", {"T3": 9}), ("weak", {"T1": 5.9})]
    lines = [",".join([smiles, *(str(of.get(name, "")) for name in ("T1", "T2", "T3"))]) for smiles, of in rows]
    path = tmp_path / "targets.csv"
    path.write_text("\n".join(["smiles,T1,T2,T3", *lines]))
    found = molecules.read_compounds(path, classes=2, most=4)
    assert found.labels.tolist() == ["T1"] * 4 + ["T2"] * 3
    assert {smiles for smiles in found.smiles if smiles.startswith("N")} == {"N", "NN", "NNN"}
    assert len({smiles for smiles in found.smiles if set(smiles) == {"C"}}) == 4
    again = molecules.read_compounds(path, classes=2, most=4)
    assert again.smiles == found.smiles
    assert again.is_test.tolist() == found.is_test.tolist()


# --- What is chosen and related ------------------------------------------------------------------------


def test_a_line_and_what_lies_off_it():
    """Twice the linear probe less a half, but for one point that is 0.4 below."""
    line = [(f"arm {i}", 0.5 + 0.1 * i, 0.5 + 0.2 * i) for i in range(4)]
    found = summary.relate(line)
    assert (found["slope"], found["intercept"], found["r2"]) == pytest.approx((2.0, -0.5, 1.0))
    off = summary.relate([*line, ("off", 0.9, 0.9)])
    assert off["points"] == 5
    assert off["outlier"] == "off"
    assert off["residual"] < 0.0
    r, reach = off["r"], 1.959964 / math.sqrt(2)
    assert off["r2"] == pytest.approx(r**2)
    assert off["r_interval"] == pytest.approx([math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)])
    assert summary.relate(line[:3])["r_interval"] is None
    assert summary.relate(line[:2]) is None
    assert summary.relate([("a", 0.5, 0.1), ("b", 0.5, 0.2), ("c", 0.5, 0.3)]) is None


def made_trial(arm, seed=0, domain="images", linear=0.8, accuracy=0.6, train=0.6, ari=(0.3, 0.5, 0.4), scaled=0.0):
    def scores(over, shift):
        means = {"accuracy": accuracy + shift, "train_accuracy": train + shift, "ari": ari[over % 3]}
        return {**means, "accuracy_majority": 0.7, "ami": 0.4, "nmi": 0.5}

    clusters = {
        norm: {f"{over:g}": scores(place, shift) for place, over in enumerate(trials.OVERCLUSTER)}
        for norm, shift in (("plain", 0.0), ("l2", scaled))
    }
    probes = {"linear": linear, "nearest": 0.7, "few_shot": 0.6}
    curve = {"2": 0.2, "4": 0.3, "all": accuracy}
    return Trial(domain, arm, seed, f"{arm}-{seed}", {}, [80, 20, 6, 10], probes, clusters, curve, core_seconds=2.0)


def test_the_best_encoder_is_chosen_on_train():
    made = [
        made_trial("pixels", accuracy=0.9, train=0.9),  # is not self-supervised
        made_trial("contrast", accuracy=0.5, train=0.7, scaled=0.1),
        made_trial("momentum", accuracy=0.8, train=0.6),
    ]
    facts = summary.summarise(made)
    assert facts["best"] == {"images": {"arm": "contrast", "norm": "l2"}}
    claims = {claim.id: claim for claim in summary.make_claims(facts, made)}
    assert claims["fashion_kmeans_acc"].value == pytest.approx(0.6)
    assert claims["fashion_kmeans_nmi"].value == 0.5
    assert claims["fashion_pixels_nmi"].value == 0.5
    assert claims["encoders_compared"].value == 2.0
    assert claims["fashion_kmeans_acc"].seconds == 2.0


def test_the_interval_is_over_training_seeds():
    made = [made_trial("contrast", seed, accuracy=0.5 + 0.1 * seed) for seed in range(3)]
    mean, half = summary.summarise(made)["arms"]["images"]["contrast"]["clusters"]["plain"]["1"]["accuracy"]
    # t of 2 degrees of freedom at 97.5% is 4.303.
    assert (mean, half) == pytest.approx((0.6, 4.3027 * 0.1 / math.sqrt(3)), rel=1e-4)


def test_each_domain_s_mean_is_taken_out_before_all_are_related():
    """Within each domain clusters follow the probe; the domains lie the other way round."""
    made = [
        made_trial(arm, domain=domain, linear=base + 0.1 * place, accuracy=0.9 - base + 0.1 * place)
        for domain, base in (("images", 0.2), ("molecules", 0.6))
        for place, arm in enumerate(list(DOMAINS[domain].arms)[:3])
    ]
    facts = summary.summarise(made)
    assert facts["pooled"]["slope"] == pytest.approx(1.0)
    assert facts["pooled"]["r2"] == pytest.approx(1.0)
    assert facts["pooled"]["points"] == 6


def test_the_peak_is_where_ari_is_highest_the_fewest_clusters_of_equals():
    clusters = {"1": {"ari": [0.3, None]}, "1.5": {"ari": [0.5, None]}, "2": {"ari": [0.5, 0.1]}}
    assert summary.find_peak(clusters) == "1.5"


# --- The command -------------------------------------------------------------------------------------


def test_the_study_judges_once_and_writes_claims_figures_and_tables(directory, tmp_path, monkeypatch, capsys):
    def run_all(pending, run, path, workers, start):
        with path.open("a") as file:
            file.writelines(run(each).to_json() + "\n" for each in pending)

    monkeypatch.setattr(study, "run_all", run_all)
    monkeypatch.setattr(study, "WORK", tmp_path / "none")
    results, root = tmp_path / "benchmarks" / "results", tmp_path
    page = root / "docs" / "clustering.md"
    page.parent.mkdir()
    markers = [f"<!-- clusters:{name} -->\n<!-- /clusters:{name} -->\n" for name in tables.RENDERERS]
    page.write_text("\n".join(markers))
    assert tables.fill_pages(root, check=True) == ["docs/clustering.md"]
    arguments = ["study", "--vectors", str(directory), "--workers", "1"]
    assert command.main(arguments, results, root) == 0
    assert "0 of 8 files are judged" in capsys.readouterr().out
    path = results / "clustering" / "trials.jsonl"
    assert len(trials.read_trials(path)) == 8
    claims = {claim.id: claim for claim in load(results / "clustering.json")}
    assert claims["fashion_kmeans_acc"].value == 1.0
    assert "contrast of clean views" in claims["fashion_kmeans_acc"].what
    assert claims["encoders_compared"].value == 3.0
    pictures = sorted(picture.name for picture in (root / "docs" / "images").iterdir())
    assert pictures == ["clusters_curves.png", "clusters_relation.png"]
    text = page.read_text()
    assert "| contrast of clean views (2) | **100.0 ± 0.0**" in text
    assert "Fashion-MNIST: 3 classes, 72 rows of train, 18 of test" in text
    assert tables.fill_pages(root, check=True) == []

    before = {file: file.read_bytes() for file in (path, results / "clustering.json", page)}
    assert command.main(arguments, results, root) == 0
    assert "8 of 8 files are judged" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in before} == before

    # Vectors of an arm that was trained again take the place of the old.
    vector_files.write(directory, "contrast", 0, make_vectors(2.0))
    assert command.main(arguments, results, root) == 0
    assert "7 of 8 files are judged" in capsys.readouterr().out
    assert len(trials.read_trials(path)) == 8
    assert {claim.id: claim for claim in load(results / "clustering.json")}["fashion_kmeans_acc"].value < 1.0


def test_claims_of_other_commands_stay(tmp_path):
    made = [made_trial("contrast")]
    facts = summary.summarise(made)
    summary.write_claims(facts, made, tmp_path)
    other = load(tmp_path / "clustering.json")[0].model_copy(
        update={"id": "other", "command": "python -m benchmarks.clustering beam"}
    )
    (tmp_path / "clustering.json").write_text(
        summary.Topic(
            claims=[other, other.model_copy(update={"id": "old", "command": summary.COMMAND})]
        ).model_dump_json()
    )
    summary.write_claims(facts, made, tmp_path)
    assert [claim.id for claim in load(tmp_path / "clustering.json")][:2] == ["other", "fashion_kmeans_acc"]


def test_a_report_without_trials_says_what_to_run(tmp_path, capsys):
    assert command.main(["report"], tmp_path, tmp_path) == 1
    assert (
        "tables must have trials. Received none. Run python -m benchmarks.clustering study" in capsys.readouterr().err
    )


def test_a_table_of_another_name_is_an_error(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("<!-- clusters:other -->\n<!-- /clusters:other -->\n")
    with pytest.raises(ValueError, match="must be one of findings, encoders"):
        tables.fill_pages(tmp_path, check=True)


def test_labels_that_test_alone_has_are_an_error():
    vectors = make_vectors(3.0)
    with pytest.raises(ValueError, match="classes of train only"):
        trials.judge(Vectors(*vectors[:3], np.full(18, "new")), 0)
