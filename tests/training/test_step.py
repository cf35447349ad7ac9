"""The losses of a step against NumPy, from the model's weights and the draws that the step made."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.features import views
from recsys_ssl.features.batch import Catalogue, FeatureBatch, lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.popularity import PopularityPrior
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.training.data import Interactions
from recsys_ssl.training.step import TrainStep

NUM_ITEMS, BATCH_SIZE = 14, 10
ITEM = (
    EncodedFeature("id", "item/id", NUM_ITEMS),
    EncodedFeature("tags", "item/tags", 6),
    EncodedFeature("shape", "item/shape", 0, dim=2),
    EncodedFeature("brand", "item/brand", 4),
)
QUERY = (EncodedFeature("user", "query/user", 4, unknown=1), EncodedFeature("history", "item/id", NUM_ITEMS))
MUTUAL_INFORMATION = np.array([[9, 1, 2, 3], [1, 9, 5, 2], [2, 5, 9, 1], [3, 2, 1, 9.0]])


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory, make_records):
    """Every kind of feature, each missing somewhere; item 0 has nothing but its id."""
    rows, path = range(NUM_ITEMS), str(tmp_path_factory.mktemp("catalogue"))
    columns = {
        "item_row": [[row] for row in rows],
        "item_id": [[b"i%d" % row] for row in rows],
        "train_count": [[row % 5] for row in rows],
        "id": [[row] for row in rows],
        "tags": [list(range(row % 5)) for row in rows],
        "shape": [[] if row % 3 == 0 else [row / 7, 1.0] for row in rows],
        "brand": [[] if row % 7 == 0 else [row % 4] for row in rows],
    }
    examples.write_shard(make_records(columns), path, "catalogue", "part-0")
    return {same: Catalogue(path, layouts(same)[0][1]) for same in (False, True)}


def layouts(same_as_items=False):
    items = (ITEM, [False, True, False, False])
    return lay_out([items if same_as_items else (QUERY, [False, True]), items])


@pytest.fixture
def make_step(catalogues, make_config):
    """A step whose weights are always the same at first."""

    def make(same_as_items=False, mutual_information=MUTUAL_INFORMATION, **changes):
        settings = {"ssl_batch_size": 9, "temperature": 0.2, "ssl_temperature": 0.3, "unknown_query_rate": 0.0}
        config = make_config(batch_size=BATCH_SIZE, **settings | changes)
        (query, item), num_rows = layouts(same_as_items)
        counts = catalogues[same_as_items].train_counts
        prior = PopularityPrior(config.popularity_prior, config.temperature, float(counts.mean()))
        model, rng = TwoTower(query, item, num_rows, config.tower, prior), np.random.default_rng(1)
        for variable in model.variables:
            variable.assign(rng.normal(size=variable.shape))
        return TrainStep(model, catalogues[same_as_items], config, same_as_items, mutual_information)

    return make


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    codes, records, slots = [], [], []
    for record in range(BATCH_SIZE):
        values = [(0, code) for code in rng.integers(0, 4, record % 2)]
        values += [(1, 4 + code) for code in rng.integers(0, NUM_ITEMS, record % 4)]
        slots += [slot for slot, _ in values]
        codes += [code for _, code in values]
        records += [record] * len(values)
    query = FeatureBatch(
        *(tf.constant(x, tf.int64) for x in (codes, records, slots)), {}, {}, tf.constant(10, tf.int64)
    )
    return Interactions(
        query,
        query_rows=tf.constant(rng.integers(0, NUM_ITEMS, BATCH_SIZE)),
        item_rows=tf.constant(rng.integers(0, NUM_ITEMS // 2, BATCH_SIZE)),
        example_weight=tf.constant(rng.random(BATCH_SIZE), tf.float32),
    )


class Towers:
    """Embeds by loops with the weights of a step that must not be taken."""

    def __init__(self, step, slow_towers):
        model, self._slow, self._catalogue = step.model, slow_towers, step._catalogue
        self._model, self._table = model, model.table.numpy()

    def embed_items(self, rows, visible=None, kept=None):
        """[num_views, num_rows, dim]."""
        batch, model = self._catalogue.gather(tf.constant(rows, tf.int64)), self._model
        encoded = self._slow.encode(model.item_encoder, self._table, model.item_layout, batch, visible, kept)
        return self._slow.embed(model.item_mlp, encoded)

    def embed_queries(self, batch, visible=None, kept=None):
        model = self._model
        encoded = self._slow.encode(model.query_encoder, self._table, model.query_layout, batch, visible, kept)
        return self._slow.embed(model.query_mlp, encoded)[0]


def contrast(first, second, temperature):
    logits = first @ second.T / temperature
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))


def softmax(queries, items, positives, candidates, weights, temperature, log_proposal, correct_positive):
    """`items` and `log_proposal` are by catalogue row; candidates that repeat the positive are removed."""
    losses = []
    for query, positive in zip(queries, positives):
        scores = items @ query / temperature
        own = scores[positive] - (log_proposal[positive] if correct_positive else 0.0)
        others = [scores[row] - log_proposal[row] for row in candidates if row != positive]
        losses.append(np.log(np.exp(own) + np.sum(np.exp(others))) - own)
    return np.average(losses, weights=weights)


class Spy:
    """Records what a function returns while the step uses it."""

    def __init__(self, monkeypatch, owner, name):
        self.results, self.arguments = [], []
        function = getattr(owner, name)

        def record(*args, **kwargs):
            result = function(*args, **kwargs)
            self.results.append(result)
            self.arguments.append(args)
            return result

        monkeypatch.setattr(owner, name, record)


DRAWS = {
    "cfm": "draw_correlated",
    "rfm": "draw_complementary",
    "rfm_no_complement": "draw_independent",
    "item_masks": "draw_per_item",
    "dropout_only": "show_all",
}


# --- Auxiliary loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize("regularizer", DRAWS)
def test_the_self_supervised_loss_is_equation_3_on_two_views_of_uniform_items(
    monkeypatch, make_step, slow_towers, regularizer
):
    step, towers = (
        make_step(ssl_regularizer=regularizer, ssl_value_dropout=0.4, ssl_weight=0.7),
        Towers(make_step(), slow_towers),
    )
    masks = Spy(monkeypatch, views, DRAWS[regularizer])
    dropped = Spy(monkeypatch, views, "drop_values")
    gathered = Spy(monkeypatch, step._catalogue, "gather")
    figures = step.take(make_batch())

    (visible,), (kept,) = masks.results, dropped.results
    visible, kept = visible.numpy(), kept.numpy()
    rows = gathered.arguments[-1][0].numpy()
    assert len(set(rows)) == len(rows) <= 9
    if regularizer == "cfm":
        assert visible[1].tolist() in views.correlated_masks(MUTUAL_INFORMATION).tolist()
    # Item features of one value keep it in both views; some tag is dropped.
    single = gathered.results[-1].slots.numpy() != 1
    assert kept[single].all()
    assert not kept[~single].all()
    first, second = towers.embed_items(rows, visible.reshape(2, -1, visible.shape[-1]), kept)
    expected = contrast(first, second, 0.3)
    np.testing.assert_allclose(figures["auxiliary_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(figures["loss"], figures["supervised_loss"] + 0.7 * expected, rtol=1e-4)


@pytest.mark.parametrize("ssl_towers", ["auto", "both"])
def test_one_view_may_go_through_the_query_tower(monkeypatch, make_step, slow_towers, ssl_towers):
    settings = {"ssl_regularizer": "item_masks", "ssl_towers": ssl_towers, "ssl_value_dropout": 0.4}
    step, towers = make_step(same_as_items=True, **settings), Towers(make_step(same_as_items=True), slow_towers)
    masks, dropped = Spy(monkeypatch, views, "draw_per_item"), Spy(monkeypatch, views, "drop_values")
    gathered = Spy(monkeypatch, step._catalogue, "gather")
    figures = step.take(make_batch())
    visible, kept, items = masks.results[0].numpy(), dropped.results[0].numpy(), gathered.results[-1]
    first = towers.embed_queries(items, visible[:1], kept[:, :1])
    (second,) = towers.embed_items(gathered.arguments[-1][0].numpy(), visible[1:], kept[:, 1:])
    np.testing.assert_allclose(figures["auxiliary_loss"], contrast(first, second, 0.3), rtol=1e-4)


@pytest.mark.parametrize("ssl_towers", ["item", "both"])
def test_across_towers_contrasts_the_two_vectors_of_whole_items(monkeypatch, make_step, slow_towers, ssl_towers):
    settings = {"ssl_regularizer": "across_towers", "ssl_towers": ssl_towers, "ssl_value_dropout": 0.9}
    step, towers = make_step(same_as_items=True, **settings), Towers(make_step(same_as_items=True), slow_towers)
    gathered = Spy(monkeypatch, step._catalogue, "gather")
    figures = step.take(make_batch())
    (items,) = towers.embed_items(gathered.arguments[-1][0].numpy())
    expected = contrast(towers.embed_queries(gathered.results[-1]), items, 0.3)
    np.testing.assert_allclose(figures["auxiliary_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"regularizer": "item_masks", "towers": "both"}, {"regularizer": "across_towers"}]
)
def test_both_towers_need_queries_that_are_items(make_step, settings):
    with pytest.raises(ValueError, match="same_as_items"):
        make_step(**{f"ssl_{name}": value for name, value in settings.items()})


def test_the_learning_rate_falls_to_zero_or_stays(make_step):
    moves = {}
    for schedule in ("constant", "linear"):
        step = make_step(ssl_regularizer="none", schedule=schedule, steps=4, learning_rate=0.2)
        for number in range(4):
            step.optimizer.iterations.assign(number)
            moves[schedule, number] = float(step.optimizer._decayed_lr(tf.float32))
    assert [moves["constant", number] for number in range(4)] == pytest.approx([0.2] * 4)
    assert [moves["linear", number] for number in range(4)] == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_a_small_initial_accumulator_lets_rare_features_learn(make_step):
    moved = {}
    for accumulator in (0.1, 1e-6):
        step = make_step(ssl_regularizer="none", initial_accumulator=accumulator)
        before = step.model.table.numpy()
        step.take(make_batch())
        moved[accumulator] = np.abs(step.model.table.numpy() - before).max()
    # At most the learning rate, which only a gradient far above the root of the accumulator reaches.
    assert moved[0.1] < moved[1e-6] <= step._config.learning_rate * 1.001


@pytest.mark.parametrize("regularizer", ["spread_out", "spread_out_square"])
def test_spread_out_is_on_whole_uniform_items(monkeypatch, make_step, slow_towers, regularizer):
    step, towers = make_step(ssl_regularizer=regularizer), Towers(make_step(), slow_towers)
    gathered = Spy(monkeypatch, step._catalogue, "gather")
    figures = step.take(make_batch())
    (items,) = towers.embed_items(gathered.arguments[-1][0].numpy())
    products = items @ items.T
    expected = contrast(items, items, 0.3) if regularizer == "spread_out" else (products**2).sum() / len(items) - 1
    np.testing.assert_allclose(figures["auxiliary_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("regularizer", ["none", "feature_dropout"])
def test_no_auxiliary_loss(make_step, regularizer):
    figures = make_step(ssl_regularizer=regularizer).take(make_batch())
    assert float(figures["auxiliary_loss"]) == 0.0
    assert float(figures["loss"]) == float(figures["supervised_loss"])


def test_auxiliary_items_are_uniform_over_the_catalogue_whatever_the_log_has(make_step):
    step, num_steps, counts = make_step(), 400, np.zeros(NUM_ITEMS)
    for number in range(num_steps):
        step.step.assign(number)
        counts[step._distinct_uniform_rows().numpy()] += 1
    # An item is among 9 draws of 14 with probability 1 - (13/14)^9.
    share = 1 - (13 / 14) ** 9
    np.testing.assert_allclose(counts / num_steps, share, atol=4 * np.sqrt(share * (1 - share) / num_steps))


# --- Supervised loss ----------------------------------------------------------------------------------

TRAIN_COUNTS = np.arange(NUM_ITEMS) % 5
EXACT = np.log(np.maximum(TRAIN_COUNTS, 0.5) / TRAIN_COUNTS.sum())


@pytest.mark.parametrize("same_as_items", [False, True])
@pytest.mark.parametrize("logq", ["none", "exact", "streaming"])
def test_the_supervised_loss_is_the_corrected_batch_softmax(make_step, slow_towers, logq, same_as_items):
    step, batch = make_step(same_as_items, logq=logq, ssl_regularizer="none"), make_batch()
    towers, rows = Towers(make_step(same_as_items), slow_towers), np.arange(NUM_ITEMS)
    (items,) = towers.embed_items(rows)
    query_batch = step._catalogue.gather(batch.query_rows) if same_as_items else batch.query
    queries = towers.embed_queries(query_batch)
    loss = step.take(batch)["supervised_loss"]
    log_proposal = {"none": np.zeros(NUM_ITEMS), "exact": EXACT}.get(logq)
    if logq == "streaming":
        log_proposal = step.frequency.log_probability(tf.constant(rows)).numpy()
        # First seen at step 1: the gap moves from its first guess, 14 items / 10 rows, towards 1.
        counts = np.bincount(batch.item_rows, minlength=NUM_ITEMS)
        kept = np.minimum(0.99**counts, 1 / (1 + counts))
        gaps = np.where(counts > 0, kept * 1.4 + (1 - kept) / np.maximum(counts, 1), 1.4)
        assert counts.max() > 1
        np.testing.assert_allclose(np.exp(-log_proposal), gaps, rtol=1e-5)
    positives = batch.item_rows.numpy()
    expected = softmax(queries, items, positives, positives, batch.example_weight, 0.2, log_proposal, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_some_query_ids_are_taken_for_unknown(monkeypatch, make_step, slow_towers):
    step, batch = make_step(ssl_regularizer="none", unknown_query_rate=0.5), make_batch()
    towers = Towers(make_step(), slow_towers)
    hidden = Spy(monkeypatch, views, "hide_ids")
    loss = step.take(batch)["supervised_loss"]
    (queries,) = hidden.results
    assert (queries.codes.numpy() != batch.query.codes.numpy()).any()
    (items,) = towers.embed_items(np.arange(NUM_ITEMS))
    positives, weights = batch.item_rows.numpy(), batch.example_weight
    expected = softmax(towers.embed_queries(queries), items, positives, positives, weights, 0.2, EXACT, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_the_popularity_prior_joins_the_scores(make_step, slow_towers):
    """Half the prior in the score and the whole correction: half of log p is left to correct."""
    step, batch = make_step(ssl_regularizer="none", popularity_prior=0.5), make_batch()
    towers = Towers(make_step(ssl_regularizer="none"), slow_towers)
    (items,), queries = towers.embed_items(np.arange(NUM_ITEMS)), towers.embed_queries(batch.query)
    positives = batch.item_rows.numpy()
    expected = softmax(queries, items, positives, positives, batch.example_weight, 0.2, 0.5 * EXACT, True)
    np.testing.assert_allclose(step.take(batch)["supervised_loss"], expected, rtol=1e-4)


def test_feature_dropout_hides_features_of_the_supervised_items(monkeypatch, make_step, slow_towers):
    step, batch = make_step(ssl_regularizer="feature_dropout", ssl_feature_dropout=0.5), make_batch()
    towers = Towers(make_step(), slow_towers)
    hidden = Spy(monkeypatch, views, "drop_features")
    gathered = Spy(monkeypatch, step._catalogue, "gather")
    queries = towers.embed_queries(batch.query)
    loss = step.take(batch)["supervised_loss"]
    rows, visible = gathered.arguments[0][0].numpy(), hidden.results[0].numpy()
    assert visible.shape == (1, len(rows), 4)
    assert not visible.all()
    items = np.zeros([NUM_ITEMS, 4])
    (items[rows],) = towers.embed_items(rows, visible)
    positives = batch.item_rows.numpy()
    expected = softmax(queries, items, positives, positives, batch.example_weight, 0.2, EXACT, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


# --- The step -----------------------------------------------------------------------------------------


def test_self_supervision_moves_the_item_tower_alone(make_step):
    step, batch = make_step(ssl_regularizer="rfm"), make_batch()
    before = {variable.ref(): variable.numpy() for variable in step.model.variables}
    step.take(batch._replace(example_weight=tf.zeros(BATCH_SIZE)))
    moved = {variable.ref() for variable in step.model.variables if (variable.numpy() != before[variable.ref()]).any()}
    item_tower = [*step.model.item_mlp.variables, step.model.table]
    assert {variable.ref() for variable in item_tower} <= moved
    query_tower = {variable.ref() for variable in step.model.query_mlp.variables}
    assert not query_tower & moved
    # Rows of the table that only queries read: the users.
    table = step.model.table.numpy()
    np.testing.assert_array_equal(table[:4], before[step.model.table.ref()][:4])


def test_nothing_moves_without_weights_and_without_regularizer(make_step):
    step = make_step(ssl_regularizer="none")
    before = [variable.numpy() for variable in step.model.variables]
    step.take(make_batch()._replace(example_weight=tf.zeros(BATCH_SIZE)))
    for variable, value in zip(step.model.variables, before):
        np.testing.assert_array_equal(variable, value)


def test_an_adagrad_step_by_hand(make_step):
    step, batch = make_step(ssl_regularizer="none", learning_rate=0.1), make_batch()
    kernel = step.model.query_mlp.layers[-1].kernel
    before = kernel.numpy()
    with tf.GradientTape() as tape:
        loss = step._supervised_loss(batch)
    gradient = tape.gradient(loss, kernel).numpy()
    step.take(batch)
    # Adagrad's accumulator starts at 0.1.
    np.testing.assert_allclose(kernel, before - 0.1 * gradient / np.sqrt(0.1 + gradient**2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("regularizer", ["cfm", "feature_dropout"])
def test_graph_and_eager_steps_agree_and_the_loss_falls(make_step, regularizer):
    eager, compiled = make_step(ssl_regularizer=regularizer), make_step(ssl_regularizer=regularizer)
    batch = make_batch()
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * len(x.shape), x.dtype), batch)
    take = compiled.compile(specs)
    figures = [take(batch) for _ in range(20)]
    for expected in figures[:2]:
        found = eager.take(batch)
        assert set(found) == {"loss", "supervised_loss", "auxiliary_loss"}
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5)
    assert float(figures[-1]["supervised_loss"]) < float(figures[0]["supervised_loss"])
    assert int(compiled.step) == 20
    assert take.experimental_get_tracing_count() == 1


def test_draws_are_a_function_of_the_seed_and_the_step(make_step):
    def losses_of(step, num_steps=2):
        return [float(step.take(make_batch())["auxiliary_loss"]) for _ in range(num_steps)]

    first, again, other = make_step(seed=1), make_step(seed=1), make_step(seed=2)
    assert losses_of(first) == losses_of(again)
    assert losses_of(other) != losses_of(make_step(seed=1))


def test_a_step_goes_on_from_a_checkpoint(make_step, tmp_path):
    first = make_step(ssl_regularizer="cfm", logq="streaming")
    for seed in range(3):
        first.take(make_batch(seed))
    path = tf.train.Checkpoint(train=first).write(str(tmp_path / "checkpoint"))
    second = make_step(ssl_regularizer="cfm", logq="streaming")
    for variable in second.model.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(train=second).read(path)
    assert int(second.step) == 3
    for seed in range(3, 6):
        expected, found = first.take(make_batch(seed)), second.take(make_batch(seed))
        assert {name: float(value) for name, value in found.items()} == {n: float(v) for n, v in expected.items()}
    for variable, expected in zip(second.model.variables, first.model.variables):
        np.testing.assert_array_equal(variable, expected)


# --- Errors -------------------------------------------------------------------------------------------


def test_correlated_masking_needs_correlations(make_step):
    with pytest.raises(ValueError, match=r"train\.ssl\.regularizer='cfm' needs the correlations"):
        make_step(ssl_regularizer="cfm", mutual_information=None)


@pytest.mark.parametrize("regularizer", ["rfm", "rfm_no_complement", "cfm"])
def test_masking_needs_two_features(catalogues, make_config, regularizer):
    (item,), num_rows = lay_out([(ITEM[:1], [False])])
    config = make_config(ssl_regularizer=regularizer)
    with pytest.raises(ValueError, match=r"at least two item features\. Received: 1\. .*train\.ssl\.regularizer=none"):
        TrainStep(TwoTower(item, item, num_rows, config.tower), catalogues[True], config, True, np.eye(1))
