"""The study of molecules: plan, resumed trials, fingerprints and tables, on made-up data; nothing is fine-tuned."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks import records
from benchmarks.claims import record
from benchmarks.molecules import chemprop, claims, pretrain, run, tables, throughput
from benchmarks.molecules.datasets import DATASETS, load, split
from benchmarks.molecules.trials import Trial, describe_encoder, read_trials, run_trial, sizes_of
from recsys_ssl.baselines.fingerprints import BASELINES, ecfp, fit_predict
from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.scaffolds import scaffold_balanced, scaffold_deterministic
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.evaluation.prediction import Split, score

ENCODERS = {"scratch": {"hidden_dim": 8}, "pretrained": {"hidden_dim": 8, "weights": "abc"}}


@pytest.fixture
def data(tmp_path):
    """bbbp.csv: rings of their own sizes, positive with a nitrogen, and one row that is no molecule."""
    rows = [f"C1{'C' * (2 + i)}1{'N' * (i % 2)},{i % 2}" for i in range(60)]
    (tmp_path / "bbbp.csv").write_text("\n".join(["smiles,p_np", *rows, "C1CC,1"]) + "\n")
    return tmp_path


def make_trial(dataset, arm, seed, value, family="balanced", **changes):
    encoder = ENCODERS.get(arm, {})
    return Trial(**{"dataset": dataset, "family": family, "arm": arm, "seed": seed, "encoder": encoder,
                    "metrics": {"test": value}} | changes)  # fmt: skip


class TestDatasets:
    def test_rejected_rows_are_kept_apart(self, data):
        loaded = load("bbbp", data)
        assert len(loaded.texts) == len(loaded.contents) == len(loaded.targets) == 60
        assert [rejection.row for rejection in loaded.rejections] == [60]
        assert loaded.targets[:4, 0].tolist() == [0, 1, 0, 1]

    def test_a_seed_draws_the_balanced_split_only(self, data):
        smiles = load("bbbp", data).texts
        assert split(smiles, "balanced", 3).test.tolist() == scaffold_balanced(smiles, seed=3).test.tolist()
        assert split(smiles, "deterministic", 3).test.tolist() == scaffold_deterministic(smiles).test.tolist()


class TestFingerprints:
    def test_counts_are_invariant_and_compressed(self):
        first, second, twice = ecfp(["OCC", "CCO", "OCC.OCC"])
        assert first.shape == (2048,)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(np.expm1(twice), 2 * np.expm1(first), rtol=1e-5)
        assert ecfp([]).shape == (0, 2048)

    @pytest.mark.parametrize("arm", BASELINES)
    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_a_rule_of_the_substructures_is_learned(self, arm, task):
        inputs = np.random.default_rng(0).integers(0, 2, [360, 20]).astype(np.float32)
        targets = np.stack([inputs[:, 3], inputs[:, 5], np.ones(360)], axis=1)
        scale = 1.0 if task == "classification" else 40.0
        targets[:20, 1] = np.nan
        parts = Split(np.arange(300), np.arange(300, 330), np.arange(330, 360))
        found = fit_predict(arm, inputs, targets * scale, parts, task, 0)
        np.testing.assert_array_equal(found[:, 2], scale)  # all alike in train
        assert score(targets[330:, :2], found[330:, :2], "classification") > 0.95
        if task == "regression":
            assert score(targets[330:, :2] * scale, found[330:, :2], "regression") < 10

    def test_the_epoch_of_the_perceptron_is_chosen_on_validation(self):
        rng = np.random.default_rng(0)
        inputs, targets = rng.integers(0, 2, [60, 10]).astype(np.float32), rng.normal(size=[60, 1])
        parts = Split(np.arange(20), np.arange(20, 40), np.arange(40, 60))
        found = fit_predict("ecfp_mlp", inputs, targets, parts, "regression", 0)
        # Noise: an early epoch, near the mean, is best in validation; fifty epochs would have learned train by heart.
        assert score(targets[:20], found[:20], "regression") > 0.5 * targets[:20].std()


class TestChemprop:
    """A script takes the place of the interpreter: it checks what it is given and answers."""

    @staticmethod
    def make_interpreter(folder, body):
        script = folder / "python"
        script.write_text(f"#!{sys.executable}\nimport sys\nimport numpy as np\n{body}\n")
        script.chmod(0o755)
        return script

    def test_the_worker_gets_the_trial_and_gives_its_predictions(self, tmp_path):
        body = (
            "mode, inputs, outputs = sys.argv[3:]\n"
            "given = dict(np.load(inputs))\n"
            "known = [mode, *given['smiles'], *given['train'], *given['validation']]\n"
            "known += [given['seed'], given['task'], given['epochs']]\n"
            "expected = ['fit', 'C', 'CC', 'CCC', '0', '2', '5', 'regression', '7']\n"
            "assert [str(value) for value in known] == expected, known\n"
            "np.savez(outputs, predictions=2 * given['targets'])"
        )
        targets, parts = np.array([[1.0], [np.nan], [3.0]]), Split(np.array([0]), np.array([2]), np.array([1]))
        interpreter = self.make_interpreter(tmp_path, body)
        found = chemprop.fit_predict(["C", "CC", "CCC"], targets, parts, "regression", 5, interpreter, epochs=7)
        np.testing.assert_array_equal(found, 2 * targets)

    def test_what_a_failed_worker_printed_is_told(self, tmp_path):
        interpreter = self.make_interpreter(tmp_path, "sys.exit('no such molecule')")
        with pytest.raises(RuntimeError, match="no such molecule"):
            chemprop.fit_predict([], np.zeros([0, 1]), Split(*[np.zeros(0, int)] * 3), "regression", 0, interpreter)

    def test_a_missing_interpreter_is_told_with_its_remedy(self, tmp_path, monkeypatch, capsys):
        with pytest.raises(FileNotFoundError, match="Make it with the commands at the top"):
            chemprop.worker_command(tmp_path / "python", "fit")
        monkeypatch.setattr(chemprop, "PYTHON", tmp_path / "python")
        assert run.main(["--data", "nowhere", "--arms", "chemprop"]) == 1
        assert "the arm `chemprop` needs" in capsys.readouterr().err


class TestTrials:
    def test_a_plan_has_whole_seeds_first(self):
        planned = run.plan(["esol", "lipo"], ["balanced"], ["ecfp_rf", "pretrained"], 2, {"epochs": 3}, ENCODERS)
        assert [(t.seed, t.dataset, t.arm) for t in planned][:4] == [
            (0, "esol", "ecfp_rf"), (0, "esol", "pretrained"), (0, "lipo", "ecfp_rf"), (0, "lipo", "pretrained"),
        ]  # fmt: skip
        assert planned[0].settings == planned[0].encoder == {}
        assert (planned[1].settings, planned[1].encoder["weights"]) == ({"epochs": 3}, "abc")
        assert len({trial.key for trial in planned}) == len(planned) == 8

    def test_presentations_set_the_epochs_of_each_data_set(self):
        arms, settings = ["ecfp_rf", "chemprop", "scratch"], {"epochs": 9, "warmup_epochs": 1}
        planned = run.plan(["esol", "tox21"], ["balanced"], arms, 1, settings, ENCODERS, presentations=3000)
        found = {(trial.dataset, trial.arm): trial.settings for trial in planned}
        assert found["esol", "ecfp_rf"] == found["tox21", "ecfp_rf"] == {}
        # 902 molecules in train four times; 6,265 twice, the least.
        assert found["esol", "chemprop"] == {"epochs": 4}
        assert found["esol", "scratch"] == {"epochs": 4, "warmup_epochs": 1}
        assert found["tox21", "scratch"] == {"epochs": 2, "warmup_epochs": 1}

    def test_an_encoder_is_told_by_sizes_weights_and_how_it_learnt(self, tmp_path):
        config = PretrainConfig(hidden_dim=8, num_heads=2, mask_inputs=False)
        store.save(MoleculeEncoder(config.grover), "molecule", config.grover, tmp_path / "encoder", config)
        found = describe_encoder(tmp_path / "encoder", {})
        assert found["scratch"] == dataclasses.asdict(config.grover)
        assert found["pretrained"].keys() - found["scratch"].keys() == {"weights", "mask_inputs"}
        assert found["pretrained"]["mask_inputs"] is False
        assert sizes_of(Trial("esol", "balanced", "pretrained", encoder=found["pretrained"])) == found["scratch"]

    def test_the_key_is_of_what_was_run(self):
        trial = Trial("esol", "balanced", "scratch", 0, {"epochs": 3}, ENCODERS["scratch"])
        assert dataclasses.replace(trial, metrics={"test": 1.0}, seconds=3.0).key == trial.key
        assert dataclasses.replace(trial, settings={"epochs": 4}).key != trial.key
        assert dataclasses.replace(trial, encoder=ENCODERS["pretrained"]).key != trial.key

    def test_a_file_of_trials_is_read_but_for_a_line_cut_off(self, tmp_path):
        path, trial = tmp_path / "trials.jsonl", make_trial("esol", "scratch", 0, 0.9)
        assert read_trials(path) == []
        path.write_text(trial.to_json() + "\n" + trial.to_json()[:20])
        assert [found.key for found in read_trials(path)] == [trial.key]
        records.end_last_line(path)
        assert path.read_text() == trial.to_json() + "\n"

    def test_fingerprints_are_judged(self, data, monkeypatch):
        from sklearn.ensemble import RandomForestClassifier

        from recsys_ssl.baselines import fingerprints as baselines

        forest = {"ecfp_rf": lambda task, seed: RandomForestClassifier(20, random_state=seed)}
        monkeypatch.setattr(baselines, "BASELINES", forest)
        found = run_trial(Trial("bbbp", "deterministic", "ecfp_rf"), data, None)
        assert found.metrics["test"] == 1.0
        assert found.sizes == (48, 6, 6)
        assert found.rejected == {"unparsable": 1}

    def test_done_trials_are_not_run_again(self, data, tmp_path, capsys):
        path = tmp_path / "trials.jsonl"
        path.write_text(make_trial("bbbp", "ecfp_rf", 0, 0.9, encoder={}).to_json() + "\n")
        options = ["--datasets", "bbbp", "--arms", "ecfp_rf", "--families", "balanced", "--seeds", "1"]
        assert run.main(["--data", str(data), "--trials", str(path), *options]) == 0
        assert "1 of 1 trials are done" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "needs an encoder"),
            (["--arms", "scratch", "--set", "epochs"], "a setting is KEY=VALUE"),
            (["--arms", "scratch", "--set", "epoch=3"], "epoch"),
            (["--arms", "scratch", "--set", "epochs=0"], "must be at least 1"),
            (["--arms", "scratch", "--presentations", "9"], "must be less than finetune.epochs"),
        ],
        ids=["model", "form", "key", "value", "warm-up"],
    )
    def test_bad_options(self, capsys, options, message):
        assert run.main(["--data", "nowhere", *options]) == 1
        assert message in capsys.readouterr().err


class TestTables:
    def test_a_gain_is_paired_by_seed_and_positive_when_better(self):
        trials = [make_trial("esol", "scratch", seed, value) for seed, value in enumerate([1.0, 1.2, 0.8])]
        trials += [make_trial("esol", "pretrained", seed, value) for seed, value in enumerate([0.9, 1.0, 0.8])]
        trials += [make_trial("bbbp", "scratch", 0, 0.8), make_trial("bbbp", "pretrained", 0, 0.9)]
        trials += [make_trial("esol", "pretrained", 7, 0.1), make_trial("esol", "scratch", 0, 9.0, "deterministic")]
        table = tables.summarise(trials, "balanced")
        gains = np.array([0.1, 0.2, 0.0])
        found = table.gains["esol"]
        assert found.seeds == (0, 1, 2)
        assert found.mean == pytest.approx(gains.mean())
        assert found.half == pytest.approx(student.ppf(0.975, 2) * gains.std(ddof=1) / math.sqrt(3))
        statistic = gains.mean() / (gains.std(ddof=1) / math.sqrt(3))
        assert found.p_value == pytest.approx(2 * student.sf(statistic, 2))
        assert table.gains["bbbp"].mean == pytest.approx(0.1)
        assert math.isnan(table.gains["bbbp"].p_value)
        # Seed 0 alone is in both data sets.
        assert table.overall[0] == pytest.approx((0.1 / 1.0 + 0.1 / 0.8) / 2)

    def test_hidden_inputs_are_compared_with_seen_ones(self):
        def make(seed, hidden, value):
            encoder = {"hidden_dim": 8, "weights": str(hidden), "mask_inputs": hidden}
            return make_trial("esol", "pretrained", seed, value, encoder=encoder)

        assert tables.render_masking([make(0, True, 1.0)]) == "No pair was run."
        found = tables.render_masking([make(0, False, 1.0), make(0, True, 0.8), make(7, True, 0.1)])
        assert "| ESOL | RMSE ↓ | 1 | 1.000 | 0.800 | +0.200 |" in found
        assert "over the data sets: +20.0%.\n" in found
        found = tables.render_masking([make(s, how, 1.0 - how * (0.2 - 0.1 * s)) for s in (0, 1) for how in (0, 1)])
        half = student.ppf(0.975, 1) * 0.05
        assert f"over the data sets: +15.0% (−{100 * (half - 0.15):.1f}% to +{100 * (half + 0.15):.1f}%).\n" in found

    def test_the_last_trial_counts(self):
        table = tables.summarise([make_trial("esol", "ecfp_rf", 0, v) for v in (1.0, 2.0)], "balanced")
        assert table.cells == {("esol", "ecfp_rf"): {0: 2.0}}
        assert table.overall is None

    def test_different_settings_are_not_compared(self):
        trials = [make_trial("esol", arm, 0, 1.0, settings={"epochs": n}) for n, arm in enumerate(ENCODERS, 1)]
        with pytest.raises(ValueError, match="must have the same settings and sizes"):
            tables.summarise(trials, "balanced")

    def test_a_table_names_what_is_best(self):
        trials = [make_trial("esol", "ecfp_rf", seed, 1.5 + seed / 10) for seed in (0, 1)]
        trials += [make_trial("esol", "scratch", 0, 1.0), make_trial("esol", "pretrained", 0, 0.75)]
        row = next(line for line in tables.render(tables.summarise(trials, "balanced")).splitlines() if "ESOL" in line)
        half = student.ppf(0.975, 1) * 0.05
        assert row == f"| ESOL | RMSE ↓ | 1–2 | 1.550 ± {half:.3f} | – | – | 1.000 | **0.750** | +0.250 | – |"
        assert tables.render(tables.summarise([], "balanced")) == "No trial was run."

    def test_a_page_is_filled_between_its_markers(self, tmp_path, capsys):
        (tmp_path / "docs").mkdir()
        (tmp_path / "README.md").write_text("none here")
        page = tmp_path / "docs" / "molecules.md"
        page.write_text("a\n<!-- molecules:balanced -->\nold\n<!-- /molecules:balanced -->\nb")
        path = tmp_path / "trials.jsonl"
        path.write_text(make_trial("esol", "scratch", 0, 1.0).to_json() + "\n")
        options = ["--trials", str(path)]
        assert tables.main([*options, "--check"], tmp_path) == 1
        assert "tables are stale: docs/molecules.md" in capsys.readouterr().out
        assert tables.main(options, tmp_path) == 0
        assert "| ESOL | RMSE ↓ | 1 |" in page.read_text()
        assert page.read_text().startswith("a\n<!-- molecules:balanced -->\n| Data set")
        assert tables.main([*options, "--check"], tmp_path) == 0

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<!-- molecules:balanced -->", "come in pairs"),
            ("<!-- molecules:random -->\n<!-- /molecules:random -->", "must be one of balanced, deterministic"),
        ],
        ids=["alone", "unknown"],
    )
    def test_bad_markers(self, text, message, tmp_path, capsys):
        (tmp_path / "README.md").write_text(text)
        assert tables.main(["--trials", str(tmp_path / "none.jsonl")], tmp_path) == 1
        error = capsys.readouterr().err
        assert "README.md: " in error
        assert message in error
        assert (tmp_path / "README.md").read_text() == text


def test_every_data_set_has_a_file_of_its_name():
    assert set(DATASETS) == {"bbbp", "bace", "clintox", "tox21", "sider", "esol", "freesolv", "lipo"}


class TestClaims:
    def test_gains_are_relative_errors_averaged_over_splits_and_their_bound_needs_three_seeds(self, tmp_path):
        trials, expected = [], []
        for seed, better in enumerate([0.1, 0.2, 0.4]):
            for dataset, facts in DATASETS.items():
                scratch, pretrained = (0.8, 1 - 0.2 * (1 - better)) if facts.task == "classification" else (
                    2.0, 2.0 * (1 - better)
                )  # fmt: skip
                for family in ("balanced", "deterministic"):
                    # Of the deterministic split no gain at all.
                    after = pretrained if family == "balanced" else scratch
                    trials += [make_trial(dataset, "scratch", seed, scratch, family)]
                    trials += [make_trial(dataset, "pretrained", seed, after, family)]
            expected.append(better / 2)
        found = {claim.id: claim for claim in claims.make_claims(trials, tmp_path)}
        half = student.ppf(0.975, 2) * np.std(expected, ddof=1) / math.sqrt(3)
        assert found["pretrained_gain"].value == pytest.approx(np.mean(expected))
        assert found["pretrained_gain_lower_bound"].value == pytest.approx(np.mean(expected) - half)
        assert found["pretrained_gain_esol"].interval == pytest.approx(
            (np.mean(expected) - half, np.mean(expected) + half)
        )
        two_seeds = [trial for trial in trials if trial.seed < 2 and trial.dataset != "lipo"]
        left = {claim.id for claim in claims.make_claims(two_seeds, tmp_path)}
        assert left == {f"pretrained_gain_{dataset}" for dataset in DATASETS if dataset != "lipo"}

    def test_a_record_of_a_pretraining_counts_all_steps(self, tmp_path):
        result = {
            "config": {"size": "small", "batch_size": 64}, "data": {"num_train": 1000}, "last_step": 300,
            "best_step": 250, "examples_per_second": 32.0, "seconds": 17.0, "figures": {"validation_loss": 1.0},
        }  # fmt: skip
        (tmp_path / "pretrain.json").write_text(json.dumps(result))
        record = tmp_path / "record" / "pretrain.json"
        assert pretrain.main(["--workdir", str(tmp_path), "--data", "a.smi", "--record", str(record)]) == 0
        (found,) = claims.make_claims([], record.parent)
        assert (found.id, found.value, found.unit) == ("pretraining_minutes", 300 * 64 / 32 / 60, "min")
        assert "small encoder on 1,000 molecules" in found.what

    def test_the_bound_on_cold_compounds_is_taken_over(self, tmp_path):
        for id in ("cold_compound_gain", "cold_compound_gain_lower_bound"):
            record("compounds", id=id, what="w", value=0.2, command="c", seconds=1.0, results=tmp_path)
        (found,) = claims.make_claims([], tmp_path / "molecules")
        assert (found.id, found.value) == ("cold_compound_gain_lower_bound", 0.2)

    def test_rates_are_those_of_the_throughput(self, tmp_path):
        seconds = {"grover": np.array([2.0, 4.0, 2.0]), "chemprop": np.array([1.0, 1.0, 1.0])}
        rows = [throughput.summarise(name, seconds, 100) for name in ("featurise", "train", "graphs")]
        assert rows[1] == {
            "what": "train", "rates": {"grover": 50.0, "chemprop": 100.0}, "ratio": 0.5, "interval": [0.25, 0.5],
        }  # fmt: skip
        facts = {"rows": rows, "command": "c", "seconds": 1.0, "hardware": "h", "commit": "0"}
        (tmp_path / "throughput.json").write_text(json.dumps(facts))
        found = {claim.id: claim.value for claim in claims.make_claims([], tmp_path)}
        assert found == {
            "featurise_rate_vs_rdkit": 0.5, "train_rate_vs_chemprop": 0.5, "inference_rate_vs_chemprop": 0.5,
        }  # fmt: skip
