"""The study of item towers on new compounds: arms, plan, trials on a small made-up catalogue, and tables."""

import dataclasses
import functools
import json
import operator

import numpy as np
import pandas as pd
import pytest

from benchmarks import claims
from benchmarks.compounds import fusion, run, summary, tables
from benchmarks.compounds.datasets import ID, load_whole_spec, prepare, read_prepared, select_features
from benchmarks.compounds.summary import CANDIDATES, CONTROLS, PRETRAINED, summarise
from benchmarks.compounds.trials import ARMS, Trial, describe_encoder, make_config, read_trials, run_trial
from benchmarks.evidence.trials import judge_ranks
from recsys_ssl.datasets.compounds import describe_compounds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.evaluation.metrics import choose_k
from recsys_ssl.evaluation.queries import RankingTask

TINY = PretrainConfig(hidden_dim=4, num_heads=2, depth=1)
SUBSTITUENTS = ("F", "Cl", "Br", "I", "N#C", "O")
ENCODERS = {"scratch": {"encoder.molecule.hidden_dim": 4}, "pretrained": {"hash": "abc"}}
TRAINED = ("grover_scratch", "grover_finetuned", "grover_ssl")


def save_tiny(directory, **changes):
    config = dataclasses.replace(TINY, **changes)
    store.save(MoleculeEncoder(config.grover), "molecule", config.grover, directory, config)
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "encoder")


@pytest.fixture(scope="module")
def encoders(model):
    return describe_encoder(model)


# --- Arms and plan ----------------------------------------------------------------------------------


def test_arms_read_what_their_names_say_and_nothing_of_a_structure_for_an_id():
    spec = load_whole_spec()
    kinds = {
        arm: {f.name: f.kind for f in select_features(spec, facts.features).items.features}
        for arm, facts in ARMS.items()
    }
    assert kinds["id"] == {ID: "id"}
    assert kinds["ecfp"] == {"substructures": "categorical"}
    for arm in ARMS:
        assert ("structure" in kinds[arm]) == (ARMS[arm].encoder is not None) == arm.startswith("grover")
    assert kinds["grover_scratch"] == kinds["grover_ssl"] == {"structure": "molecule"}
    assert kinds["grover_ecfp"] == {"structure": "molecule", "substructures": "categorical"}
    with pytest.raises(ValueError, match="item features must be some of compound, structure"):
        select_features(spec, ["scaffold"])


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_valid_settings_the_same_budget_and_no_prior(arm, model, encoders):
    steps = ARMS[arm].search
    assert sum(len(values) for _, values in steps) == 2
    encoder = encoders.get(ARMS[arm].encoder, {})
    for name, values in steps:
        for value in values:
            config = make_config(Trial("tune", arm, 3, {name: value}, encoder), model)
            assert (config.seed, config.popularity_prior) == (3, 0.0)
            assert functools.reduce(operator.getitem, name.split("."), dataclasses.asdict(config)) == value
    assert config.encoder_config("molecule").pretrained == (str(model) if arm in PRETRAINED else None)
    assert ARMS[arm].trains_encoder == (arm in TRAINED)
    assert (config.ssl.regularizer != "none") == arm.endswith("ssl")
    if arm == "grover_scratch":
        assert config.encoder_config("molecule").grover == TINY.grover


def test_an_arm_is_tested_only_once_its_search_is_over():
    tuned = run.list_pending([], ["grover_finetuned"], 3, ENCODERS)
    assert [(t.purpose, t.encoder) for t in tuned] == [("tune", {"hash": "abc"})] * 2
    # The greater rate is the better one.
    done = [
        dataclasses.replace(trial, validation_recall_at_50=trial.settings["encoder.molecule.learning_rate"])
        for trial in tuned
    ]
    tests = run.list_pending(done, ["grover_finetuned"], 3, ENCODERS)
    assert [(trial.purpose, trial.seed) for trial in tests] == [("test", 0), ("test", 1), ("test", 2)]
    assert tests[0].settings == {"encoder.molecule.learning_rate": 1e-3}
    assert run.list_pending(done + tests, ["grover_finetuned"], 3, ENCODERS) == []
    other = {**ENCODERS, "pretrained": {"hash": "other"}}
    assert len(run.list_pending(done + tests, ["grover_finetuned"], 3, other)) == 2


def test_arms_that_train_an_encoder_come_first():
    pending = run.list_pending([], list(ARMS), 3, ENCODERS)
    assert tuple(dict.fromkeys(trial.arm for trial in pending))[:3] == TRAINED
    assert {trial.arm for trial in pending} == set(ARMS)
    assert len({trial.key for trial in pending}) == len(pending)


def test_a_trial_is_read_back_unless_the_study_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "trials.jsonl"
    assert read_trials(path) == []
    trial = Trial("tune", "ecfp", settings={"learning_rate": 0.1}, validation_recall_at_50=0.25, seconds=2.0)
    gone = trial.to_json().replace('"ecfp"', '"gone"')
    path.write_text(f"{trial.to_json()}\n{gone}\n")
    assert read_trials(path) == [trial]
    monkeypatch.setitem(ARMS, "ecfp", dataclasses.replace(ARMS["ecfp"], features=("rings",)))
    assert read_trials(path) == []


def test_a_mistake_is_one_message(tmp_path, capsys):
    assert run.main(["--arms", "id", "grover_ssl"]) == 1
    assert "grover_ssl must have a pre-trained encoder" in capsys.readouterr().err
    assert run.main(["--model", str(tmp_path / "absent")]) == 1
    assert "an encoder must have" in capsys.readouterr().err
    assert run.main(["--model", str(save_tiny(tmp_path / "heads", attention="heads"))]) == 1
    assert "the encoder must attend to atoms" in capsys.readouterr().err


# --- Trials -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Rings with one substituent each, which is what a target wants: it can be read off a compound of a new ring."""
    root = tmp_path_factory.mktemp("compounds")
    rings = [f"C1{'C' * size}{atom}C1" for size in range(1, 9) for atom in ("O", "S", "N", "[Se]")]
    smiles = pd.Series([other + ring for ring in rings for other in SUBSTITUENTS])
    compounds = describe_compounds(smiles).assign(compound=[f"c{i}" for i in range(len(smiles))], smiles=smiles)
    data = root / "data"
    data.mkdir()
    compounds.to_csv(data / "compounds.csv", index=False)
    wanted = pd.DataFrame({"target": [f"t{i % len(SUBSTITUENTS)}" for i in range(len(smiles))]})
    wanted.assign(compound=compounds["compound"], p_activity=7.0).to_csv(data / "activities.csv", index=False)
    prepare(data, root / "work")
    return root / "work"


def small(purpose, arm, encoder=None, **settings):
    sizes = {"batch_size": 24, "steps": 2, "eval_every": 1, "feature_dim": 8, "embedding_dim": 8, "hidden": (8,)}
    if "ssl.batch_size" in ARMS[arm].settings or arm == "grover_ecfp_ssl":
        sizes["ssl.batch_size"] = 8
    return Trial(purpose, arm, settings={**sizes, **settings}, encoder=encoder or {})


def test_arms_share_the_encoded_data(work):
    read = [read_prepared(ARMS[arm].features, work) for arm in ("id", "ecfp", "grover_ecfp")]
    assert len({prepared.inputs.catalogue_dir for prepared in read}) == 1
    assert len({prepared.inputs.item_transform_dir for prepared in read}) == 3
    assert read[0].spec.split.kind == "item_group"


def test_a_rule_of_the_structure_holds_for_new_compounds_and_an_id_knows_nothing_of_them(work):
    # With vectors of 8 two of the 12 pairs come and go with the order of the examples.
    settings = {"steps": 30, "eval_every": 30, "learning_rate": 0.1, "feature_dim": 16, "embedding_dim": 16}
    found = {arm: run_trial(small("test", arm, **settings), None, work) for arm in ("id", "ecfp")}
    for trial in found.values():
        pairs = trial.metrics["all"]["pairs"]
        assert trial.metrics["cold"]["pairs"] == pairs > 0
        with np.load(work / "ranks" / f"{trial.key}.npz") as stored:
            assert (stored["ranks"] <= 10).mean() == pytest.approx(trial.metrics["all"]["recall_at_10"], abs=1e-6)
        assert trial.num_items == 192
    assert found["ecfp"].metrics["all"]["recall_at_10"] == 1.0
    # By chance 10 of at least 160 that are not masked.
    assert found["id"].metrics["all"]["recall_at_10"] < 0.3


def test_a_test_takes_up_what_its_tuning_trial_trained(work, monkeypatch):
    from recsys_ssl.training.step import TrainStep

    tuned = run_trial(small("tune", "ecfp"), None, work)
    assert tuned.metrics is None
    monkeypatch.setattr(TrainStep, "compile", lambda *_: pytest.fail)
    tested = run_trial(small("test", "ecfp"), None, work)
    outcome = ("validation_recall_at_50", "best_step", "last_step")
    assert [getattr(tested, name) for name in outcome] == [getattr(tuned, name) for name in outcome]
    assert tested.metrics["all"]["pairs"] > 0
    assert tested.key != tuned.key


@pytest.mark.parametrize("arm", ["grover_ssl", "grover_ecfp_ssl"])
def test_molecules_are_trained_and_judged(work, model, encoders, arm, monkeypatch):
    """Two steps move the encoder if the arm trains it, and the figures are those of the weights that were kept."""
    from recsys_ssl.training import train
    from recsys_ssl.training.validation import Validator

    fit, found = train.fit, {}

    def fit_and_look(spec, config, inputs, *rest):
        fitted = fit(spec, config, inputs, *rest)
        split = inputs.interactions_dir, fitted.catalogue, config.validation_queries, config.seed
        found["recall"] = Validator(spec, *split).recall_at(fitted.model, choose_k(fitted.catalogue.num_items))
        trained, given = fitted.model.encoders["molecule"], store.load(model, "molecule")
        pairs = zip(trained.get_weights(), given.get_weights(), strict=True)
        found["moved"] = any((left != right).any() for left, right in pairs)
        return fitted

    monkeypatch.setattr(train, "fit", fit_and_look)
    trial = run_trial(small("test", arm, encoders["pretrained"]), model, work)
    assert trial.last_step == 2
    assert trial.validation_recall_at_50 == pytest.approx(found["recall"], abs=1e-6)
    assert found["moved"] == ARMS[arm].trains_encoder
    with np.load(work / "ranks" / f"{trial.key}.npz") as stored:
        assert (stored["ranks"] <= 50).mean() == pytest.approx(trial.metrics["all"]["recall_at_50"], abs=1e-6)
    assert trial.metrics["all"]["pairs"] == trial.metrics["cold"]["pairs"] > 0


# --- Tables -----------------------------------------------------------------------------------------

NUM_QUERIES, PAIRS = 60, 8
RATES = {"id": 0.01, "ecfp": 0.4, "grover_scratch": 0.2, "grover_pretrained": 0.3, "grover_finetuned": 0.5}


@pytest.fixture
def study(tmp_path):
    """Tests whose arms find a pair with a known probability; validation puts `grover_finetuned` first."""
    work, trials = tmp_path / "build" / "compounds", []
    task = RankingTask(
        num_items=1000,
        event_rows=np.arange(NUM_QUERIES),
        cluster=np.arange(NUM_QUERIES),
        query_ids=np.arange(NUM_QUERIES).astype(str),
        positive_offsets=np.arange(NUM_QUERIES + 1) * PAIRS,
        positive_rows=np.arange(NUM_QUERIES * PAIRS),
        masked_offsets=np.zeros(NUM_QUERIES + 1, np.int64),
        masked_rows=np.zeros(0, np.int64),
    )
    for number, (arm, facts) in enumerate(ARMS.items()):
        validation = 0.9 if arm == "grover_finetuned" else 0.8 if arm == "grover_ecfp" else 0.1
        encoder = ENCODERS.get(facts.encoder, {})
        trials.append(Trial("tune", arm, encoder=encoder, validation_recall_at_50=validation, seconds=60.0))
        for seed in range(3):
            trial = Trial("test", arm, seed, encoder=encoder, num_items=1000)
            rng = np.random.default_rng([number, seed])
            found = rng.random(NUM_QUERIES * PAIRS) < RATES.get(arm, 0.6)
            ranks = np.where(found, rng.integers(1, 51, len(found)), 500)
            path = work / "ranks" / f"{trial.key}.npz"
            metrics = judge_ranks(task, ranks, np.zeros(1000, np.int64), path, work / "task.npz")
            trials.append(dataclasses.replace(trial, metrics=metrics))
    return trials, work


def test_the_claim_is_of_the_arm_that_validation_chose_over_the_better_control(study):
    found = summarise(*study)
    assert CONTROLS == ("id", "grover_scratch")
    # Neither grover_ssl, the best on the test, nor an arm that reads substructures too.
    assert CANDIDATES == ("grover_pretrained", "grover_finetuned", "grover_ssl")
    gain, bound = found["claims"]
    means = {arm: found["arms"][arm]["recall_at_50"][0] for arm in ARMS}
    assert gain["value"] == pytest.approx(means["grover_finetuned"] - means["grover_scratch"], abs=1e-5)
    assert gain["interval"][0] == bound["value"] < gain["value"] < gain["interval"][1]
    assert bound["id"] == "cold_compound_gain_lower_bound"
    assert 0.15 < bound["value"] < 0.3
    row = found["comparisons"]["grover_pretrained"]["ecfp"]["recall_at_50"]["difference"]
    # Metrics are recorded with six digits.
    assert row[0] == pytest.approx(means["grover_pretrained"] - means["ecfp"], abs=1e-5)


def test_there_is_no_claim_before_all_of_its_arms_are_tested(study):
    trials, work = study
    found = summarise([trial for trial in trials if trial.arm != "grover_ssl"], work)
    assert found["claims"] == []
    assert found["arms"].keys() == ARMS.keys() - {"grover_ssl"}


def test_tests_of_two_encoders_and_lost_ranks_are_errors(study):
    trials, work = study
    other = dataclasses.replace(trials[-1], encoder={"hash": "other"})
    with pytest.raises(ValueError, match="tests must share one encoder"):
        summarise([*trials[:-1], other], work)
    (work / "ranks" / f"{trials[-1].key}.npz").unlink()
    with pytest.raises(ValueError, match="must hold the ranks of a test of grover_ecfp_ssl"):
        summarise(trials, work)
    with pytest.raises(ValueError, match="tables must have tests"):
        summarise([], work)


def test_tables_and_claims_are_written(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "describe_hardware", lambda: "a CPU, 2 cores, 8 GiB")
    monkeypatch.setattr(claims, "describe_commit", lambda: "0123456789ab")
    page = tmp_path / "docs" / "molecules.md"
    page.parent.mkdir()
    names = ("results", "differences")
    page.write_text("\n".join(f"<!-- compounds:{name} -->\n<!-- /compounds:{name} -->" for name in names))
    (tmp_path / "README.md").write_text("No table.\n")
    assert tables.main(["--from-json"], tmp_path) == 0
    assert page.read_text().count("Not measured yet") == 2

    results = tmp_path / "benchmarks" / "results"
    (results / "compounds").mkdir(parents=True)
    (results / "compounds" / "trials.jsonl").write_text("".join(trial.to_json() + "\n" for trial in study[0]))
    assert tables.main([], tmp_path) == 0
    assert tables.main(["--check"], tmp_path) == 0
    numbers = json.loads((results / "compounds" / "tables.json").read_text())
    mean, half = numbers["arms"]["ecfp"]["recall_at_50"]
    assert f"| {100 * mean:.2f} ± {100 * half:.2f} |" in page.read_text()
    low = numbers["claims"][1]["value"]
    assert claims.load(results / "compounds.json")[1].value == pytest.approx(low, rel=1e-6)
    page.write_text("<!-- compounds:absent --><!-- /compounds:absent -->")
    assert tables.main(["--check"], tmp_path) == 1
    assert "must be one of results, differences" in capsys.readouterr().err


def test_references_are_arms_without_a_pretrained_encoder():
    assert not set(summary.REFERENCES) & set(PRETRAINED)
    assert len(PRETRAINED) == 5


def test_what_both_features_find_is_compared_with_the_better_alone(study, tmp_path, capsys):
    trials, work = study
    better = {"ecfp": 0.5, "grover_pretrained": 0.4}
    of_fusion = [trial for trial in trials if trial.arm in (fusion.BOTH, *fusion.SINGLE)]
    trials = [
        dataclasses.replace(trial, validation_recall_at_50=better.get(trial.arm, 0.6))
        if trial.purpose == "tune"
        else trial
        for trial in of_fusion
    ]
    path = tmp_path / "compounds" / "fusion.jsonl"
    path.parent.mkdir()
    path.write_text("".join(trial.to_json() + "\n" for trial in trials))
    assert fusion.main(tmp_path, work) == 0
    gain, bound = claims.load(tmp_path / "images.json")
    means = {arm: [t.metrics["all"]["recall_at_50"] for t in trials if t.arm == arm and t.metrics] for arm in better}
    both = [t.metrics["all"]["recall_at_50"] for t in trials if t.arm == fusion.BOTH and t.metrics]
    assert gain.value == pytest.approx(100 * (np.mean(both) - np.mean(means["ecfp"])), abs=1e-3)
    assert bound.id == "fused_over_best_single_lower_bound"
    assert gain.interval[0] == bound.value < gain.value
    numbers = json.loads((tmp_path / "compounds" / "fusion.json").read_text())
    assert "Morgan substructures" in tables.render_results(numbers)
    tuned = next(trial for trial in trials if (trial.purpose, trial.arm) == ("tune", "grover_pretrained"))
    preferred = dataclasses.replace(tuned, validation_recall_at_50=0.9)
    path.write_text("".join(trial.to_json() + "\n" for trial in [*trials, preferred]))
    assert fusion.main(tmp_path, work) == 1
    assert "ecfp must be the better alone. Received: grover_pretrained" in capsys.readouterr().err
    path.write_text("".join(trial.to_json() + "\n" for trial in trials if trial.arm != "ecfp"))
    assert fusion.main(tmp_path, work) == 1
    assert "Received none of ecfp" in capsys.readouterr().err
