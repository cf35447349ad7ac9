"""Fine-tuning on molecules whose property is known: whether there is a nitrogen, and the share of oxygens."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.encoders.finetune import _FinetuneStep, load_predictor, predict, save_predictor
from recsys_ssl.encoders.finetune import finetune as finetune_kind
from recsys_ssl.encoders.molecule.grover import GTransformer
from recsys_ssl.encoders.molecule.settings import FinetuneConfig, GroverConfig
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.evaluation.prediction import Split, score

NAN = np.nan
ENCODER = GroverConfig(16, num_heads=2)
SMALL = FinetuneConfig(
    epochs=20, batch_size=16, learning_rate=3e-3, warmup_epochs=1, dropout=0.0, attn_hidden=8, attn_out=2, ffn_hidden=16
)


def finetune(*arguments, **options):
    return finetune_kind("molecule", *arguments, **options)


def make_molecules(count=96):
    """(graphs, [count, 2] share of oxygens and nitrogen, split): chains of C with O and N at random places."""
    rng = np.random.default_rng(0)
    # Each other molecule has a nitrogen; oxygens never touch each other.
    chains = [[rng.choice(["C", "CO"]) for _ in range(rng.integers(2, 6))] for _ in range(count)]
    smiles = ["".join([*chain[:1], "N" if i % 2 else "C", *chain[1:], "C"]) for i, chain in enumerate(chains)]
    targets = np.array([[text.count("O") / len(text), float("N" in text)] for text in smiles])
    split = Split(np.arange(0, 64), np.arange(64, 80), np.arange(80, count))
    return [featurise(text) for text in smiles], targets, split


GRAPHS, TARGETS, SPLIT = make_molecules()


@pytest.fixture
def eagerly():
    """A few steps take less time without a trace."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def take_one_step(encoder, **changes):
    """The result of a single step over 16 molecules."""
    split = Split(np.arange(16), np.arange(16, 32), np.arange(32, 48))
    config = dataclasses.replace(SMALL, epochs=1, warmup_epochs=0, **changes)
    return finetune(encoder, GRAPHS[:48], TARGETS[:48, 1:], split, "classification", config)


class TestLearning:
    @pytest.fixture(scope="class")
    def regression(self):
        """One run on the share of oxygens, a tenth of the training targets unknown, beside a task of chance."""
        targets = np.column_stack([TARGETS[:, 0] * 1000 + 100, np.random.default_rng(1).normal(size=len(TARGETS))])
        targets[SPLIT.train[::10], 0] = NAN
        seen, traces, take = [], [], _FinetuneStep.take

        def count(*arguments):
            traces.append(1)
            return take(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_FinetuneStep, "take", count)
            found = finetune(ENCODER, GRAPHS, targets, SPLIT, "regression", SMALL, progress=lambda *of: seen.append(of))
        assert len(traces) == 1
        return found, seen, targets

    def test_the_known_property_is_learned(self, regression):
        found, _, targets = regression
        rmse = score(targets[SPLIT.test, :1], found.predictions[SPLIT.test, :1], "regression")
        assert rmse < 0.5 * targets[SPLIT.test, 0].std()

    def test_metrics_are_those_of_the_predictions(self, regression):
        found, _, targets = regression
        assert set(found.metrics) == {"train", "validation", "test"}
        for part, rows in SPLIT._asdict().items():
            expected = score(targets[rows], found.predictions[rows], "regression")
            assert found.metrics[part] == pytest.approx(expected, rel=1e-6)

    def test_the_best_epoch_is_kept(self, regression):
        found, seen, _ = regression
        history = [figures["validation_rmse"] for _, _, figures in seen]
        assert [step for step, _, _ in seen] == [4 * epoch for epoch in range(1, found.last_epoch + 1)]
        assert found.best_epoch == 1 + int(np.argmin(history))
        assert found.metrics["validation"] == pytest.approx(min(history), rel=1e-5)
        assert seen[-1][2]["loss"] < seen[0][2]["loss"]

    def test_a_saved_predictor_predicts_the_same(self, regression, tmp_path):
        found, _, _ = regression
        names = ["oxygens", "chance"]
        save_predictor(found.model, "molecule", SMALL, names, "smiles", str(tmp_path / "predictor"))
        stored = load_predictor(tmp_path / "predictor", "molecule")
        assert (stored.task, stored.targets, stored.column) == ("regression", names, "smiles")
        np.testing.assert_allclose(predict("molecule", stored.model, GRAPHS), found.predictions, rtol=1e-5)
        assert predict("molecule", stored.model, []).shape == (0, 2)

    def test_a_class_is_learned(self):
        found = finetune(GTransformer(ENCODER), GRAPHS, TARGETS[:, 1:], SPLIT, "classification", SMALL)
        assert found.metrics["test"] > 0.9
        assert 0.0 <= found.predictions.min() <= found.predictions.max() <= 1.0


@pytest.mark.usefixtures("eagerly")
class TestResuming:
    CONFIG = dataclasses.replace(SMALL, epochs=3, warmup_epochs=1, dropout=0.2)
    PARTS = Split(np.arange(30), np.arange(30, 48), np.arange(48, 66))

    def run(self, directory, progress=None, **changes):
        config = dataclasses.replace(self.CONFIG, **changes)
        targets = TARGETS[:66, 1:]
        return finetune(ENCODER, GRAPHS[:66], targets, self.PARTS, "classification", config, directory, progress)

    @staticmethod
    def die_at(step):
        def die(now, *_):
            if now == step:
                raise KeyboardInterrupt

        return die

    def test_a_killed_run_ends_like_an_unharmed_one(self, tmp_path):
        unharmed = self.run(None)
        with pytest.raises(KeyboardInterrupt):
            self.run(tmp_path, self.die_at(4))
        seen = []
        resumed = self.run(tmp_path, lambda *of: seen.append(of))
        assert [step for step, _, _ in seen] == [6]
        assert (resumed.best_epoch, resumed.last_epoch) == (unharmed.best_epoch, unharmed.last_epoch)
        np.testing.assert_array_equal(resumed.predictions, unharmed.predictions)

    def test_other_contents_with_the_same_targets_are_another_run(self, tmp_path, monkeypatch):
        first = self.run(tmp_path)
        monkeypatch.setitem(globals(), "GRAPHS", GRAPHS[1:] + GRAPHS[:1])
        other, unharmed = self.run(tmp_path), self.run(None)
        np.testing.assert_array_equal(other.predictions, unharmed.predictions)
        assert not np.array_equal(other.predictions, first.predictions)

    def test_other_settings_are_another_run(self, tmp_path):
        self.run(tmp_path, epochs=2)
        seen = []
        self.run(tmp_path, lambda *of: seen.append(of), epochs=2, seed=1)
        assert [step for step, _, _ in seen] == [2, 4]


@pytest.mark.usefixtures("eagerly")
class TestEncoder:
    def test_a_seed_repeats_and_another_differs(self):
        encoder = GTransformer(ENCODER)
        runs = [take_one_step(encoder, seed=seed).predictions for seed in (0, 0, 1)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0], runs[2])

    @pytest.mark.parametrize("scale", [1.0, 0.1, 0.0])
    def test_its_own_learning_rate_is_a_true_multiple(self, scale):
        encoder = GTransformer(ENCODER)
        before = encoder.get_weights()
        found = take_one_step(encoder, encoder_lr_scale=scale, learning_rate=1e-3)
        after = found.model.encoder.get_weights()
        # Adam's first step moves a weight by the learning rate, whatever its gradient.
        moved = max(np.abs(new - old).max() for new, old in zip(after, before))
        assert moved == pytest.approx(1e-3 * scale, rel=1e-2)
        for old, kept in zip(before, encoder.get_weights()):
            np.testing.assert_array_equal(old, kept)  # the given encoder stays as it is

    def test_from_scratch_its_weights_are_drawn(self):
        first, second = (take_one_step(ENCODER, seed=seed, learning_rate=1e-9).model.encoder for seed in (0, 1))
        assert first.config.hidden_dim == 16
        assert any(np.abs(a - b).max() > 0.01 for a, b in zip(first.get_weights(), second.get_weights()))

    def test_its_dropout_is_that_of_the_config(self):
        assert take_one_step(ENCODER, dropout=0.25).model.encoder.config.dropout == 0.25

    def test_training_stops_when_validation_does_not_improve(self):
        split = Split(np.arange(16), np.arange(16, 32), np.arange(32, 48))
        config = dataclasses.replace(SMALL, epochs=9, patience=2, learning_rate=1e-12)
        found = finetune(ENCODER, GRAPHS, TARGETS[:, 1:], split, "classification", config)
        assert (found.best_epoch, found.last_epoch) == (1, 3)


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epochs": 0}, "finetune.epochs must be at least 1"),
            ({"learning_rate": NAN}, "finetune.learning_rate must be positive"),
            ({"encoder_lr_scale": -0.1}, "finetune.encoder_lr_scale must not be negative"),
            ({"warmup_epochs": 50}, "warmup_epochs must be less than finetune.epochs"),
            ({"ffn_layers": 0}, "ffn_layers must be 1 or more"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_bad_settings(self, changes, message):
        with pytest.raises(ValueError, match=message):
            FinetuneConfig(**changes)

    @pytest.mark.parametrize(
        ("targets", "task", "message"),
        [
            (TARGETS[:, 1:], "ranking", "task must be one of classification, regression"),
            (TARGETS[:90], "regression", "a row per record. Received: .90, 2. for 96 records"),
            (TARGETS[:, 0], "regression", "must be .num_records, num_tasks."),
            (TARGETS + np.inf, "regression", "must be finite, or NaN"),
            (TARGETS * 2, "classification", "must be 0 or 1. Received: 0, "),
            (TARGETS[:, 1:] * 0, "classification", "validation must have a task with both classes"),
            (
                np.where(np.arange(96)[:, None] < 64, 0, TARGETS[:, 1:]),
                "classification",
                "train must have a task with both",
            ),
            (TARGETS * 1e30, "regression", "a finite mean and deviation in 32 bits. Received: targets up to 1e"),
            (np.where(np.arange(96)[:, None] < 64, NAN, TARGETS), "regression", "must have a target in train"),
            (np.where(np.arange(96)[:, None] < 80, TARGETS, NAN), "regression", "test must have a target. "),
        ],
        ids=[
            "task",
            "rows",
            "shape",
            "infinite",
            "counts",
            "one class",
            "one class in train",
            "huge",
            "no train",
            "no test",
        ],
    )
    def test_bad_targets(self, targets, task, message):
        with pytest.raises(ValueError, match=message):
            finetune(ENCODER, GRAPHS, targets, SPLIT, task, SMALL)

    def test_an_empty_part(self):
        split = SPLIT._replace(validation=np.arange(0))
        with pytest.raises(ValueError, match="must have records. Received: none in validation"):
            finetune(ENCODER, GRAPHS, TARGETS, split, "regression", SMALL)

    @pytest.mark.usefixtures("eagerly")
    def test_predictions_that_are_not_finite(self):
        encoder = GTransformer(ENCODER)
        weights = encoder.get_weights()
        with pytest.raises(ValueError, match=r"(predictions|the loss) must be finite.*Lower finetune.learning_rate"):
            take_one_step(encoder, learning_rate=1e38)
        found = take_one_step(encoder)
        found.model.encoder.set_weights([np.full_like(values, NAN) for values in weights])
        with pytest.raises(ValueError, match=r"predictions must be finite. Received: \[nan\] of record 0, 3 of 3"):
            predict("molecule", found.model, GRAPHS[:3])

    def test_a_directory_without_a_predictor(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Name the directory predictor/ of a finished `recsys-ssl finetune"):
            load_predictor(tmp_path, "molecule")

    @pytest.mark.parametrize("text", ["{}", "null", '{"kind": "molecule"}'])
    def test_a_predictor_without_its_settings_is_an_error_that_names_the_file(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(DamagedError, match=r"config\.json is damaged, or not whole"):
            load_predictor(tmp_path, "molecule")
