"""Towers with a transformer over histories: what they read, that nothing leaks, and what they learn that a mean cannot.

In the made log every second item is of the brand that follows from the brand of the item just before; the items
between are drawn at random. A bag of them leaves open which was the last one.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.features.encoding import EncodedFeature, write_encoding
from recsys_ssl.features.windows import window_batch
from recsys_ssl.models.history import UNKNOWN_GAP, UNKNOWN_ITEM
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.data import parse, parse_windows
from recsys_ssl.training.sequences import SequenceReader
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.train import TrainInputs, build_model, fit
from recsys_ssl.training.validation import Validator

NUM_BRANDS, PER_BRAND, NUM_QUERIES, NUM_EVENTS, LENGTH = 12, 4, 160, 8, 8
NUM_ITEMS = NUM_BRANDS * PER_BRAND
SECOND = 1_000_000
SPEC = FeatureSpec.model_validate(
    {
        "version": 1,
        "name": "walks",
        "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "item", "timestamp": {"column": "time"}},
        "items": {
            "table": {"paths": ["i.csv"]},
            "id": "item",
            "features": [{"name": "item", "kind": "id"}, {"name": "brand", "kind": "categorical"}],
        },
        "queries": {"id": "user", "features": [{"name": "history", "kind": "item_sequence", "length": LENGTH}]},
        "evaluation": {"mask_seen": False, "group_by": "event"},
    }
)
FOLLOWS = np.random.default_rng(1).permutation(NUM_BRANDS)


def code_of(row):
    """Codes of item ids are in another order than the rows."""
    return (row * 5 + 3) % NUM_ITEMS


def draw_walk(rng):
    """Rows of items; the last item of a brand is new and never drawn here."""
    brands = rng.integers(0, NUM_BRANDS, NUM_EVENTS)
    brands[1::2] = FOLLOWS[brands[::2]]
    return brands + NUM_BRANDS * rng.integers(0, PER_BRAND - 1, NUM_EVENTS)


def make_event(query, walk, times, place):
    before = [other for other in range(len(walk)) if times[other] < times[place]][-LENGTH:]
    return {
        "query_id": [b"q%d" % query],
        "item_id": [b"i%d" % walk[place]],
        "item_row": [int(walk[place])],
        "example_weight": [1.0],
        "timestamp_us": [int(times[place])],
        "history": [int(code_of(walk[other])) for other in before],
        "history_us": [int(times[other]) for other in before],
    }


def write(make_records, root, events, split):
    batch = make_records({name: [event[name] for event in events] for name in events[0]})
    examples.write_shard(batch, root, split, "part-0")
    return batch


@pytest.fixture(scope="module")
def walks(tmp_path_factory, make_records):
    """Encoded as the stages do it; held out is what follows from a last item that is known, or new."""
    root, rng = tmp_path_factory.mktemp("walks"), np.random.default_rng(4)
    inputs = TrainInputs(*(str(root / name) for name in ("interactions", "catalogue", "queries", "items")))
    train, held_out = [], {"eval": [], "test": []}
    for query in range(NUM_QUERIES):
        walk, times = draw_walk(rng), np.cumsum(rng.integers(1, 100, NUM_EVENTS)) * SECOND
        # A fifth of the queries have a time twice.
        times[5] = times[4] if query % 5 == 0 else times[5]
        train += [make_event(query, walk, times, place) | {"sequence_position": [place]} for place in range(NUM_EVENTS)]
        held_walk = draw_walk(rng)
        for split in ("eval", "test"):
            if split == "test":  # the same brand, but an item that training never saw
                held_walk[-2] = held_walk[-2] % NUM_BRANDS + NUM_BRANDS * (PER_BRAND - 1)
            event = make_event(query, held_walk, times[-1] + np.arange(1, NUM_EVENTS + 1) * SECOND, NUM_EVENTS - 1)
            held_out[split].append(event | {"seen_rows": []})
    batch = write(make_records, inputs.interactions_dir, train, "train")
    for split, events in held_out.items():
        write(make_records, inputs.interactions_dir, events, split)
    examples.write_shard(window_batch(batch, LENGTH, ("history",)), inputs.interactions_dir, "sequences", "part-0")
    counts = np.bincount([event["item_row"][0] for event in train], minlength=NUM_ITEMS)
    items = [
        {"item_row": [row], "item_id": [b"i%d" % row], "train_count": [int(counts[row])], "item": [code_of(row)]}
        | {"brand": [row % NUM_BRANDS]}
        for row in range(NUM_ITEMS)
    ]
    write(make_records, inputs.catalogue_dir, items, "catalogue")
    item_id = EncodedFeature("item", "item/item", NUM_ITEMS + 1, unknown=1)
    write_encoding(inputs.item_transform_dir, [item_id, EncodedFeature("brand", "item/brand", NUM_BRANDS + 1)])
    write_encoding(inputs.query_transform_dir, [EncodedFeature("history", "item/item", NUM_ITEMS + 1)])
    return SimpleNamespace(inputs=inputs, train=train, held_out=held_out)


@pytest.fixture(scope="module")
def configure(make_config):
    def configure(encoder="transformer", **changes):
        history = {"encoder": encoder, "learning_rate": 0.01, "dropout": 0.0, "heads": 2}
        settings = {"feature_dim": 16, "embedding_dim": 16, "hidden": (), "ssl_regularizer": "none"}
        settings |= {"batch_size": 160, "steps": 160, "eval_every": 80, "learning_rate": 0.3}
        return make_config(**settings | {"history": history} | changes)

    return configure


@pytest.fixture(scope="module")
def towers(walks, configure):
    """A model of random weights, its catalogue and reader."""
    model, catalogue = build_model(SPEC, configure(), walks.inputs)
    rng = np.random.default_rng(8)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    items = model.embed_items(catalogue.gather(tf.range(NUM_ITEMS, dtype=tf.int64)))
    return SimpleNamespace(model=model, catalogue=catalogue, reader=SequenceReader(SPEC, catalogue), items=items)


def embed(towers, batch):
    states = towers.model.read_histories(batch.histories, towers.items)
    return towers.model.embed_queries(batch.query, states=states).numpy()


def read(walks, split):
    (path,) = examples.list_shards(walks.inputs.interactions_dir, split)
    return tf.constant(list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()))


def parse_both(walks, towers):
    """The train events of all windows, and one by one."""
    layout = towers.model.query_layout
    windows = parse_windows(read(walks, "sequences"), layout, towers.reader)
    return windows, parse(read(walks, "train"), layout, False, towers.reader)


# --- What is read ---------------------------------------------------------------------------------------


def histories_of(batch):
    """Item, then the codes, items and gaps that each record sees, in one order for all ways of reading."""
    items, gaps = batch.histories.items.numpy(), batch.histories.gaps.numpy()
    found = []
    for record, (owner, visible) in enumerate(zip(batch.histories.owner.numpy(), batch.histories.visible.numpy())):
        codes = batch.query.codes.numpy()[batch.query.records.numpy() == record].tolist()
        own = items[owner, :visible].tolist(), gaps[owner, :visible].tolist()
        found.append((int(batch.item_rows[record]), codes, *own))
    return sorted(found)


def test_windows_hold_what_single_events_hold(walks, towers):
    windows, events = parse_both(walks, towers)
    assert histories_of(windows) == histories_of(events)
    assert len(windows.histories.items) == NUM_QUERIES < len(events.histories.items)
    assert all(codes == [code_of(item) for item in items] for _, codes, items, _ in histories_of(windows))


def test_windows_hold_the_choices_that_may_come_again(walks, towers):
    def choices_of(batch):
        codes, records = (part.numpy() for part in batch.query.history)
        rows = batch.item_rows.numpy().tolist()
        return sorted((row, codes[records == record].tolist()) for record, row in enumerate(rows))

    windows, events = map(choices_of, parse_both(walks, towers))
    assert windows == events
    assert sum(len(codes) for _, codes in windows) > 1000
    assert towers.model.repeats is not None


def test_one_pass_gives_the_queries_of_single_events(walks, towers):
    windows, events = parse_both(walks, towers)
    order = [np.lexsort((batch.item_rows.numpy(), *np.round(embed(towers, batch), 3).T)) for batch in (windows, events)]
    np.testing.assert_allclose(embed(towers, windows)[order[0]], embed(towers, events)[order[1]], rtol=1e-5, atol=1e-5)


def test_no_event_sees_itself_a_later_one_or_one_of_its_time(walks, towers, make_records):
    """Other items from event 4 on, which some queries have at the time of event 5: events up to 4 stay as they are."""
    place = np.array([event["sequence_position"][0] for event in walks.train])
    tied = np.array([int(event["query_id"][0][1:]) % 5 == 0 for event in walks.train])

    def embed_events(events):
        batch = make_records({name: [event[name] for event in events] for name in events[0]})
        windows = window_batch(batch, LENGTH, ("history",))
        records = tf.constant(examples.serialize(windows))
        parsed = parse_windows(records, towers.model.query_layout, towers.reader)
        # The windows tell the event by its weight.
        embedded = np.empty([len(events), 16])
        embedded[parsed.example_weight.numpy().astype(int)] = embed(towers, parsed)
        return embedded

    events = [event | {"example_weight": [float(number)]} for number, event in enumerate(walks.train)]
    changed = [
        event | {"item_row": [(event["item_row"][0] + 1) % NUM_ITEMS]} if event["sequence_position"][0] >= 4 else event
        for event in events
    ]
    before, after = embed_events(events), embed_events(changed)
    blind = (place <= 4) | ((place == 5) & tied)
    np.testing.assert_array_equal(after[blind], before[blind])
    assert (np.abs(after[~blind] - before[~blind]).max(axis=1) > 1e-4).all()


def test_gaps_reach_to_the_time_of_the_query(towers):
    codes = tf.ragged.constant([[3, 8], [], [13]], tf.int64).to_sparse()
    times = tf.ragged.constant([[10 * SECOND, 11 * SECOND], [], [-1]], tf.int64)
    found = towers.reader.read_codes(codes, times, tf.constant([15 * SECOND, 15 * SECOND, 15 * SECOND], tf.int64))
    np.testing.assert_array_equal(found.items, [[0, 1], [UNKNOWN_ITEM] * 2, [2, UNKNOWN_ITEM]])
    np.testing.assert_array_equal(found.gaps, [[2, 4], [UNKNOWN_GAP] * 2, [UNKNOWN_GAP] * 2])
    np.testing.assert_array_equal(found.visible, [2, 0, 1])
    unasked = towers.reader.read_codes(codes, times, tf.fill([3], tf.constant(-1, tf.int64)))
    np.testing.assert_array_equal(unasked.gaps[0], [2, UNKNOWN_GAP])


def test_an_item_that_the_catalogue_does_not_have_is_unknown(towers):
    codes = tf.ragged.constant([[3, NUM_ITEMS]], tf.int64).to_sparse()  # the last code is of no item
    found = towers.reader.read_codes(codes, tf.ragged.constant([[]], tf.int64), tf.constant([-1], tf.int64))
    np.testing.assert_array_equal(found.items, [[0, UNKNOWN_ITEM]])


def test_a_spec_without_item_sequence_cannot_have_a_transformer(towers):
    queries = {"id": "user", "features": [{"name": "user", "kind": "id"}]}
    spec = FeatureSpec.model_validate(SPEC.model_dump() | {"queries": queries})
    with pytest.raises(ValueError, match=r"needs one item_sequence. Received: \[\]"):
        SequenceReader(spec, towers.catalogue)


# --- What is learned ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recalls(walks, configure, tmp_path_factory):
    """Encoder -> Recall@4 of what follows from a known last item, and from a new one; 4 items have the right brand."""
    found = {}
    for encoder in ("mean", "transformer"):
        directory = tmp_path_factory.mktemp(encoder)
        fitted = fit(SPEC, configure(encoder), walks.inputs, str(directory))
        found[encoder] = {
            split: Validator(SPEC, walks.inputs.interactions_dir, fitted.catalogue, None, 0, split).recall_at(
                fitted.model, 4
            )
            for split in ("eval", "test")
        }
    return found


def test_a_transformer_learns_what_follows_from_the_last_item_and_a_mean_cannot(recalls):
    # Three of the four items of the brand are ever chosen; a mean takes any of the items before for the last.
    assert recalls["transformer"]["eval"] > 0.9
    assert recalls["mean"]["eval"] < 0.6


def test_a_new_item_says_by_its_content_what_follows(recalls):
    assert recalls["transformer"]["test"] > 0.8


# --- Steps ----------------------------------------------------------------------------------------------


def test_batches_of_any_windows_take_one_trace(walks, configure):
    config = configure(ssl_regularizer="item_masks", ssl_batch_size=16)
    model, catalogue = build_model(SPEC, config, walks.inputs)
    step, reader = TrainStep(model, catalogue, config, False, None), SequenceReader(SPEC, catalogue)
    dataset = tf.data.Dataset.from_tensor_slices(read(walks, "sequences")).batch(7)
    batches = dataset.map(lambda serialized: parse_windows(serialized, model.query_layout, reader))
    take = step.compile(batches.element_spec)
    first, *others = batches.take(4)
    assert np.isfinite([float(take(batch)["loss"]) for batch in [first, *others]]).all()
    assert take.experimental_get_tracing_count() == 1


def come_again(model, codes, code):
    """The logit of an item of a history to be chosen again, see `RepeatTerm`."""
    if code not in codes:
        return -np.inf
    age = codes[::-1].index(code)
    return model.repeats.weight.numpy() @ [1, np.log(codes.count(code)), np.log(1 + age)]


def test_what_a_query_chose_itself_is_no_negative(walks, towers, configure):
    """The loss of a step against a loop over events, candidates and their queries."""
    config = configure(temperature=0.5, unknown_query_rate=0.0, logq="none")
    step = TrainStep(towers.model, towers.catalogue, config, False, None)
    batch = parse_windows(read(walks, "sequences")[:5], towers.model.query_layout, towers.reader)
    batch = batch._replace(histories=batch.histories._replace(gaps=tf.zeros_like(batch.histories.gaps)))
    queries, items = embed(towers, batch), towers.items.numpy()
    rows, owner = batch.item_rows.numpy(), batch.histories.owner.numpy()
    chosen = tf.RaggedTensor.from_value_rowids(*batch.query.history, nrows=len(rows)).to_list()
    losses = []
    for query, row, own, codes in zip(queries, rows, owner, chosen):
        others = [other for other, its in zip(rows, owner) if its != own and other != row]
        again = [come_again(towers.model, codes, code_of(other)) for other in (row, *others)]
        logits = np.logaddexp(items[[row, *others]] @ query / 0.5, again)
        losses.append(np.log(np.exp(logits).sum()) - logits[0])
    assert float(step._supervised_loss(batch)) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_step_after_a_checkpoint_is_the_step_of_a_run_without(walks, configure, tmp_path):
    """Dropout, unknown gaps and the state of the optimiser: all that `fit` goes on from."""
    config = configure(history={"encoder": "transformer", "dropout": 0.3})

    def make_step():
        return TrainStep(*build_model(SPEC, config, walks.inputs), config, False, None)

    whole = make_step()
    batch = parse_windows(
        read(walks, "sequences")[:9], whole.model.query_layout, SequenceReader(SPEC, whole._catalogue)
    )
    whole.take(batch)
    path = tf.train.Checkpoint(train=whole).save(str(tmp_path / "latest"))
    resumed = make_step()
    tf.train.Checkpoint(train=resumed).restore(path)
    losses = [float(step.take(batch)["loss"]) for step in (whole, resumed)]
    assert losses[0] == losses[1]
    for mine, other in zip(resumed.model.variables, whole.model.variables):
        np.testing.assert_array_equal(mine, other)
    whole.step.assign(7)  # the same weights, other draws
    losses = [float(step.take(batch)["loss"]) for step in (whole, resumed)]
    assert losses[0] != losses[1]
