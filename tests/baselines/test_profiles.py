"""Training events and profiles, against loops over records."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from recsys_ssl import examples
from recsys_ssl.baselines import profiles as module
from recsys_ssl.baselines.profiles import Profiles, build_profiles
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.features.batch import Catalogue, lay_out
from recsys_ssl.features.encoding import read_encoding
from recsys_ssl.pairs import Pairs, read_pairs
from recsys_ssl.spec import Evaluation
from recsys_ssl.training.validation import Validator

# --- What a profile gives -----------------------------------------------------------------------------


def test_a_profile_gives_items_counts_and_places():
    profiles = Profiles(np.array([3, 1, 3, 2, 0]), np.array([0, 4, 4, 5]), num_items=4, has_time=True)
    assert profiles.to_matrix().toarray().tolist() == [[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert profiles.to_counts().toarray().tolist() == [[0, 1, 1, 2], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert profiles.to_places().toarray().tolist() == [[0, 2, 4, 3], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_places_without_time_are_an_error():
    profiles = Profiles(np.array([3]), np.array([0, 1]), num_items=4, has_time=False)
    with pytest.raises(ValueError, match="the order of events needs a log with time"):
        profiles.to_places()


# --- Building -----------------------------------------------------------------------------------------


def make_task_of(shop, split, group_by):
    spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by=group_by)})
    encoding = read_encoding(shop.encoded.item_transform)
    (layout,), _ = lay_out([(encoding, [False] * len(encoding))])
    catalogue = Catalogue(shop.encoded.catalogue, layout)
    return spec, Validator(spec, shop.encoded.interactions, catalogue, None, 0, split=split).task


@pytest.mark.parametrize("group_by", ["event", "query"])
@pytest.mark.parametrize("split", ["eval", "test"])
def test_a_profile_is_the_training_positives_and_the_history_of_the_event(shop, split, group_by):
    spec, task = make_task_of(shop, split, group_by)
    # Three queries lose their training positives, so that only their history is left.
    train = read_pairs(shop.encoded.interactions, "train")
    kept = train.query_codes > 2
    train = Pairs(train.query_codes[kept], train.item_rows[kept], train.query_ids, train.times_us[kept])
    profiles = build_profiles(spec, shop.encoded.interactions, shop.encoded.catalogue, split, task, train)

    row_of_id = {item["product"][0]: row for row, item in enumerate(shop.items)}
    lost = set(train.query_ids[:3])
    matrix, counts = profiles.to_matrix(), profiles.to_counts()
    for ranking, event in enumerate(shop.events[split][row] for row in task.event_rows):
        (query,), (time,) = event["query_id"], event["timestamp_us"]
        trained = [e for e in shop.events["train"] if e["query_id"] == [query] and query not in lost]
        trained = Counter(e["item_row"][0] for e in trained)
        history = [row_of_id[item] for item in event["history"] if item in row_of_id]  # b"gone" is unknown
        assert matrix[ranking].indices.tolist() == sorted({*trained, *history})
        # The history ends the profile, whole and in its order.
        own = profiles.rows[profiles.offsets[ranking] : profiles.offsets[ranking + 1]]
        assert own[len(own) - len(history) :].tolist() == history
        before = Counter(
            e["item_row"][0]
            for other in ("eval", "test")
            for e in shop.events[other]
            if e["query_id"] == [query] and e["timestamp_us"][0] < time
        )
        for item, number in Counter(history).items():
            new = min(number, before[item])
            assert counts[ranking, item] == max(trained[item], number - new) + new
    assert set(matrix.data) == {1.0}


def test_in_a_split_by_time_each_event_of_training_and_history_counts_once(shop, tmp_path, make_records):
    """Queries choose among few items again and again; the history is the last 6 events, whatever their split."""
    rng, num_items, length = np.random.default_rng(2), 5, 6
    log = [(int(time), int(rng.integers(4)), int(rng.integers(num_items))) for time in np.arange(200) // 2]
    cuts = {"train": (0, 60), "eval": (60, 80), "test": (80, 100)}

    def past(query, time):
        return [event for event in log if event[1] == query and event[0] < time]

    def records(split):
        own = [event for event in log if cuts[split][0] <= event[0] < cuts[split][1]]
        histories = [[item for _, _, item in past(query, time)[-length:]] for time, query, _ in own]
        return own, make_records(
            {
                "query_id": [[f"q{query}".encode()] for _, query, _ in own],
                "item_row": [[item] for _, _, item in own],
                "timestamp_us": [[time] for time, _, _ in own],
                "history": [[item + 1 for item in history] for history in histories],  # codes
            }
        )

    for split in cuts:
        examples.write_shard(records(split)[1], tmp_path / "log", split, "part-0")
    codes = make_records({"product": [[item + 1] for item in range(num_items)]})
    examples.write_shard(codes, tmp_path / "items", "catalogue", "part-0")
    train = read_pairs(tmp_path / "log", "train")
    for split in ("eval", "test"):
        own, _ = records(split)
        task = RankingTask(
            num_items=num_items,
            event_rows=np.arange(len(own)),
            cluster=np.array([query for _, query, _ in own]),
            query_ids=np.array([f"q{query}".encode() for query in range(4)], object),
            positive_offsets=np.arange(len(own) + 1),
            positive_rows=np.array([item for _, _, item in own]),
            masked_offsets=np.zeros(len(own) + 1, np.int64),
            masked_rows=np.empty(0, np.int64),
        )
        profiles = build_profiles(shop.spec, tmp_path / "log", tmp_path / "items", split, task, train)
        for ranking, (time, query, _) in enumerate(own):
            known = [event for event in past(query, time) if event[0] < cuts["train"][1]]
            known += [event for event in past(query, time)[-length:] if event[0] >= cuts["train"][1]]
            found = profiles.rows[profiles.offsets[ranking] : profiles.offsets[ranking + 1]]
            assert found.tolist() == [item for _, _, item in known]


def test_a_code_of_no_item_or_of_several_names_none(tmp_path, make_records):
    examples.write_shard(make_records({"item": [[3], [0], [1], [1]]}), tmp_path, "catalogue", "part-0")
    assert module._read_row_of_code(tmp_path, "item").tolist() == [1, -1, -1, 0]


def test_a_task_of_another_split_is_an_error(shop):
    _, task = make_task_of(shop, "eval", "event")
    task = RankingTask(**{**task.__dict__, "event_rows": task.event_rows + 10_000})
    train = read_pairs(shop.encoded.interactions, "train")
    with pytest.raises(ValueError, match="the task must be of the split 'eval'"):
        build_profiles(shop.spec, shop.encoded.interactions, shop.encoded.catalogue, "eval", task, train)


def test_queries_are_found_whatever_bytes_name_them():
    ids = [b"anna", "Zo\u00eb".encode(), b"Zo\xeb", b"new"]
    texts = np.array(["Zo\\xeb", "Zo\u00eb", "anna", "nobody"], object)
    task = SimpleNamespace(query_ids=texts, cluster=np.arange(4))
    assert module.find_queries(task, SimpleNamespace(query_ids=ids)).tolist() == [2, 1, 0, -1]
