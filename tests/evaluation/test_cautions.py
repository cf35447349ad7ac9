"""Which logs ask for a caution, and what it says to do."""

import pytest

from recsys_ssl.evaluation.cautions import list_cautions


def counts(repeats=0, pairs=1000, strangers=0, queries=100):
    numbers = {
        "held_out_pairs": pairs,
        "held_out_repeats": repeats,
        "held_out_queries": queries,
        "queries_without_history": strangers,
    }
    return {name: {"eval": 0, "test": number} for name, number in numbers.items()}


def with_history(spec):
    history = {"kind": "item_sequence", "name": "history", "length": 5}
    features = [*spec.model_dump()["queries"]["features"], history]
    items = {**spec.model_dump()["items"], "id": "item_id"}
    return spec.model_validate({**spec.model_dump(), "items": items, "queries": {"features": features[1:]}})


@pytest.mark.parametrize(("repeats", "told"), [(0, False), (50, False), (51, True), (410, True), (1000, True)])
def test_many_held_out_repeats_name_the_rule_for_repeat_consumption(make_spec, repeats, told):
    found = list_cautions(make_spec(), counts(repeats))
    assert len(found) == told
    if told:
        assert f"{repeats:,} of 1,000 held-out pairs ({repeats / 10:.1f}%)" in found[0]
        assert "set evaluation.mask_seen: false" in found[0]
        assert ("No other is left, so they are kept and nothing is masked" in found[0]) == (repeats == 1000)
    assert list_cautions(make_spec(mask_seen=False), counts(repeats)) == []


@pytest.mark.parametrize(("disliked", "fate"), [(399, "They are left out"), (400, "No other is left")])
def test_what_was_rated_low_is_no_repeat_but_is_left_out(make_spec, disliked, fate):
    summary = {**counts(600), "held_out_disliked": {"test": disliked}}
    (caution,) = list_cautions(make_spec(), summary)
    assert caution.startswith(
        "600 of 1,000 held-out pairs (60.0%) are items that their query had chosen before. " + fate
    )
    assert list_cautions(make_spec(), {**counts(0), "held_out_disliked": {"test": disliked}}) == []


@pytest.mark.parametrize(("strangers", "told"), [(0, False), (50, False), (51, True), (100, True)])
def test_sessions_that_are_judged_by_an_empty_history_name_the_rule_for_events(make_spec, strangers, told):
    found = list_cautions(make_spec(), counts(strangers=strangers))
    assert len(found) == told
    if told:
        assert f"{strangers} of 100 held-out queries ({strangers}.0%)" in found[0]
        assert "Set evaluation.group_by: event" in found[0]
        assert "Give the queries an item_sequence too" in found[0]
        (known,) = list_cautions(with_history(make_spec()), counts(strangers=strangers))
        assert "item_sequence" not in known
    assert list_cautions(make_spec(group_by="event"), counts(strangers=strangers)) == []
    assert list_cautions(make_spec(same_as_items=True), counts(strangers=strangers)) == []


def test_the_split_of_the_report_is_judged_and_what_was_not_counted_is_not(make_spec):
    both = {name: {"eval": number["test"], "test": 0} for name, number in counts(900, strangers=90).items()}
    assert list_cautions(make_spec(), both) == []
    assert len(list_cautions(make_spec(), both, "eval")) == 2
    assert list_cautions(make_spec(), {}) == []
