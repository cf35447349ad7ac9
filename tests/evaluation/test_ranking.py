import numpy as np
import pytest
import scipy.sparse as sp

from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import rank, rank_by_own, rank_by_popularity, rank_by_scores


def make_task(num_items, positives, masked=None, cluster=None):
    masked = [[]] * len(positives) if masked is None else masked
    cluster = np.arange(len(positives)) if cluster is None else np.asarray(cluster)

    def csr(lists):
        return np.cumsum([0, *map(len, lists)]), np.array([row for rows in lists for row in rows], np.int64)

    positive_offsets, positive_rows = csr(positives)
    masked_offsets, masked_rows = csr(masked)
    return RankingTask(
        num_items=num_items,
        event_rows=np.arange(len(positives)),
        cluster=cluster,
        query_ids=np.array([f"q{i}" for i in range(cluster.max() + 1)], object),
        positive_offsets=positive_offsets,
        positive_rows=positive_rows,
        masked_offsets=masked_offsets,
        masked_rows=masked_rows,
    )


def ranked_by_scores(task, scores, **kwargs):
    """Ranks by given scores: a query is a row of scores, item i the i-th unit vector."""
    return rank(task, np.asarray(scores, np.float32), np.eye(task.num_items, dtype=np.float32), **kwargs)


def oracle(scores, positives, masked, k):
    """Mean place of every held-out item over all orders of the ties, one item at a time."""
    eligible = [row for row in range(len(scores)) if row not in masked]
    top = sorted(eligible, key=lambda row: (-scores[row], row))[:k]
    ranks = []
    for index, row in enumerate(positives):
        higher = sum(scores[other] > scores[row] for other in eligible)
        others = sum(scores[other] == scores[row] for other in eligible if other not in positives)
        tied = [i for i, other in enumerate(positives) if scores[other] == scores[row]]
        # The j-th of m marked cards in a shuffled deck of m + e is expected at j * (m + e + 1) / (m + 1).
        place = (tied.index(index) + 1) * (len(tied) + others + 1) / (len(tied) + 1)
        ranks.append(higher + place)
    return ranks, top + [-1] * (k - len(top))


def random_problem(seed, num_rankings=40, num_items=97, values=12):
    """Scores with few distinct values, so that ties of all sorts occur."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, values, (num_rankings, num_items)).astype(np.float32)
    positives, masked = [], []
    for _ in range(num_rankings):
        rows = rng.permutation(num_items)
        cut = rng.integers(1, 8)
        positives.append(sorted(rows[:cut].tolist()))
        masked.append(sorted(rows[cut : cut + rng.integers(0, 60)].tolist()))
    return scores, positives, masked


@pytest.mark.parametrize("values", [1, 3, 12, 10_000])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_ranks_and_lists_agree_with_the_oracle(values, k):
    scores, positives, masked = random_problem(values + k, values=values)
    ranked = ranked_by_scores(make_task(97, positives, masked), scores, k=k)
    expected = [oracle(*problem, k) for problem in zip(scores, positives, masked)]
    np.testing.assert_allclose(ranked.ranks, np.concatenate([ranks for ranks, _ in expected]), rtol=0, atol=1e-12)
    assert ranked.top_rows.tolist() == [top for _, top in expected]


def test_hand_arithmetic_of_ties_and_masks():
    # Scores:          0    1    2    3    4    5
    scores = [[9.0, 5.0, 5.0, 5.0, 7.0, 1.0]]
    assert ranked_by_scores(make_task(6, [[0]]), scores).ranks.tolist() == [1]
    assert ranked_by_scores(make_task(6, [[5]]), scores).ranks.tolist() == [6]
    assert ranked_by_scores(make_task(6, [[2]]), scores).ranks.tolist() == [1 + 2 + 2 / 2]
    assert ranked_by_scores(make_task(6, [[2]], [[0, 1]]), scores).ranks.tolist() == [1 + 1 + 1 / 2]
    # Two held-out items tie with one other: mean places of the first and second over the 3 orders.
    assert ranked_by_scores(make_task(6, [[1, 2]]), scores).ranks.tolist() == [2 + (1 + 1 + 2) / 3, 2 + (2 + 3 + 3) / 3]
    # All three tied are held out: no order is worse than another.
    assert ranked_by_scores(make_task(6, [[1, 2, 3]]), scores).ranks.tolist() == [3, 4, 5]


def test_a_constant_score_earns_no_more_than_chance():
    task = make_task(101, [[0], [50], [100]])
    assert ranked_by_scores(task, np.zeros((3, 101))).ranks.tolist() == [51, 51, 51]


@pytest.mark.parametrize("rows", [1, 7, 40, 1000])
def test_blocks_do_not_change_anything(rows):
    scores, positives, masked = random_problem(3)
    task = make_task(97, positives, masked)
    whole = ranked_by_scores(task, scores)
    blocks = ranked_by_scores(task, scores, block_bytes=4 * 97 * rows)
    np.testing.assert_array_equal(blocks.ranks, whole.ranks)
    np.testing.assert_array_equal(blocks.top_rows, whole.top_rows)


def test_progress_ends_at_the_total():
    seen = []
    scores, positives, masked = random_problem(3)
    ranked_by_scores(
        make_task(97, positives, masked), scores, block_bytes=4 * 97 * 15, progress=lambda *at: seen.append(at)
    )
    assert seen == [(15, 40), (30, 40), (40, 40)]


def test_renaming_the_items_does_not_change_ranks():
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(30, 8)).astype(np.float32), rng.normal(size=(200, 8)).astype(np.float32)
    positives = [sorted(rng.choice(200, 3, replace=False).tolist()) for _ in range(30)]
    order = rng.permutation(200)
    place = np.argsort(order)
    before = rank(make_task(200, positives), queries, items)
    after = rank(make_task(200, [place[rows].tolist() for rows in positives]), queries, items[order])
    np.testing.assert_array_equal(before.ranks, after.ranks)


def test_real_scores_agree_with_sorting():
    rng = np.random.default_rng(1)
    queries, items = rng.normal(size=(20, 16)).astype(np.float32), rng.normal(size=(3000, 16)).astype(np.float32)
    positives = [[int(row)] for row in rng.integers(0, 3000, 20)]
    ranked = rank(make_task(3000, positives), queries, items, k=50)
    order = np.argsort(-(queries @ items.T), axis=1)
    np.testing.assert_array_equal(ranked.top_rows, order[:, :50])
    assert ranked.ranks.tolist() == [1 + list(order[i]).index(row) for i, (row,) in enumerate(positives)]


def test_lists_end_early_when_few_items_are_eligible():
    ranked = ranked_by_scores(make_task(5, [[1]], [[0, 2, 3]]), [[5, 4, 3, 2, 1]], k=4)
    assert ranked.top_rows.tolist() == [[1, 4, -1, -1]]
    assert ranked.ranks.tolist() == [1]


def test_one_item():
    ranked = ranked_by_scores(make_task(1, [[0]]), [[0.0]])
    assert ranked.ranks.tolist() == [1]
    assert ranked.top_rows[0, :2].tolist() == [0, -1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30], ids=["nan", "inf", "overflow"])
@pytest.mark.parametrize("side", ["queries", "items"])
def test_scores_that_could_be_nan_are_an_error(bad, side):
    queries, items = np.full((1, 2), 1e9, np.float32), np.full((3, 2), 1e9, np.float32)
    (queries if side == "queries" else items)[0, 1] = bad
    with pytest.raises(ValueError, match="embeddings must be finite"):
        rank(make_task(3, [[0]]), queries, items)


@pytest.mark.parametrize(("share", "passes"), [(0.49, True), (0.51, False), (0.99, False)])
def test_norms_may_reach_half_of_the_largest_float(share, passes):
    queries = np.full((1, 1), 1e19, np.float32)
    items = np.array([[0.0], [share * np.finfo(np.float32).max / 1e19]], np.float32)
    if passes:
        assert rank(make_task(2, [[1]]), queries, items).ranks.tolist() == [1]
    else:
        with pytest.raises(ValueError, match="embeddings must be finite"):
            rank(make_task(2, [[1]]), queries, items)


def test_lists_hold_fifty_items():
    ranked = ranked_by_scores(make_task(70, [[0]]), -np.arange(70.0)[None])
    assert ranked.top_rows.tolist() == [list(range(50))]


def test_a_wrong_shape_is_an_error():
    task = make_task(3, [[0]])
    with pytest.raises(ValueError, match="need one vector each"):
        rank(task, np.ones((1, 2), np.float32), np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="one count per item"):
        rank_by_popularity(task, np.ones(4))


def test_popularity_is_the_same_order_for_all_but_the_masked():
    counts = np.array([5, 0, 9, 5, 2_000_000_001])
    ranked = rank_by_popularity(make_task(5, [[2], [2], [0], [1]], [[], [4], [], [0, 3]]), counts, k=3)
    assert ranked.ranks.tolist() == [2, 1, 1 + 2 + 1 / 2, 3]
    assert ranked.top_rows.tolist() == [[4, 2, 0], [2, 0, 3], [4, 2, 0], [4, 2, 1]]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_own_values_come_first_and_popularity_orders_the_rest(rows):
    _, positives, masked = random_problem(4)
    rng = np.random.default_rng(0)
    own = rng.integers(1, 4, (30, 97)) * (rng.random((30, 97)) < 0.1)
    owner = rng.integers(0, 30, 40)  # of several rankings of a query
    counts = rng.integers(0, 9, 97)
    task = make_task(97, positives, masked)
    arguments = (task, sp.csr_matrix(own.astype(np.float32)), counts, owner)
    ranked = rank_by_own(*arguments, k=20, block_bytes=4 * 97 * rows)
    expected = ranked_by_scores(task, own[owner] * 100 + counts, k=20)
    np.testing.assert_array_equal(ranked.ranks, expected.ranks)
    np.testing.assert_array_equal(ranked.top_rows, expected.top_rows)


@pytest.mark.parametrize(
    ("own", "num_counts", "owner", "message"),
    [
        (np.ones((1, 3)), 3, None, "2 rankings need a row of own values each. Received: 2 rankings with rows up to 1"),
        (np.ones((2, 3)), 3, np.array([0]), "Received: 1 rankings with rows up to 0 of 2"),
        (np.ones((2, 4)), 3, None, "3 items need own values and a training count each. Received: 4 and 3"),
        (np.ones((2, 3)), 2, None, "Received: 3 and 2"),
        (-np.ones((2, 3)), 3, None, "a stored own value must be positive. Received: -1.0"),
    ],
    ids=["rows", "owners", "items", "counts", "negative"],
)
def test_own_values_of_another_task_are_an_error(own, num_counts, owner, message):
    with pytest.raises(ValueError, match=message):
        rank_by_own(make_task(3, [[0], [1]]), sp.csr_matrix(own), np.ones(num_counts), owner)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_given_scores_rank_as_the_same_dot_products(rows):
    scores, positives, masked = random_problem(4)
    task = make_task(97, positives, masked)

    def score(start, stop, out):
        out[:] = scores[start:stop]

    ranked, expected = (
        rank_by_scores(task, score, k=20, block_bytes=4 * 97 * rows),
        ranked_by_scores(task, scores, k=20),
    )
    np.testing.assert_array_equal(ranked.ranks, expected.ranks)
    np.testing.assert_array_equal(ranked.top_rows, expected.top_rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_a_given_score_that_is_not_finite_is_an_error(bad):
    def score(start, stop, out):
        out[:] = [1.0, bad if start == 1 else 2.0, 0.0]

    with pytest.raises(ValueError, match="rankings 1..1"):
        rank_by_scores(make_task(3, [[0], [0]]), score, block_bytes=4 * 3)
