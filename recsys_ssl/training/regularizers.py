"""What a regularizer adds to the supervised loss, one row each; `none` is the control of all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Optional

import tensorflow as tf

from recsys_ssl.features import views

Draw = Callable[[tf.Tensor, int, Optional[tf.Tensor], tf.Tensor], tf.Tensor]
"""(number of records, number of features, correlated masks, seed) -> the features that each of two views shows,
[2, num_records or 1, num_features] bool."""


def _draw_per_item(num_records, num_features, masks, seed) -> tf.Tensor:
    return views.draw_per_item(num_records, num_features, seed)


def _draw_correlated(num_records, num_features, masks, seed) -> tf.Tensor:
    return views.draw_correlated(masks, seed)[:, tf.newaxis]


def _draw_complementary(num_records, num_features, masks, seed) -> tf.Tensor:
    return views.draw_complementary(num_features, seed)[:, tf.newaxis]


def _draw_independent(num_records, num_features, masks, seed) -> tf.Tensor:
    return views.draw_independent(num_features, seed)[:, tf.newaxis]


def _show_all(num_records, num_features, masks, seed) -> tf.Tensor:
    return views.show_all(num_features)[:, tf.newaxis]


@dataclass(frozen=True)
class Regularizer:
    """One row of `REGULARIZERS`.

    Attributes:
        loss: the auxiliary loss on items drawn uniformly from the catalogue. `contrast`: the two views of an item must
            find each other among those of other items; `spread_out`, `spread_out_square`: whole items must differ.
            None: there is none.
        draw: which features the views show; all by default.
        drops_values: whether single values of what a view shows are dropped too.
        drops_features: whether the supervised task hides features.
        needs_correlations: whether `draw` reads the mutual information between features.
        hides_features: whether `draw` hides whole features, of which there must be two.
        crosses_towers: whether one view goes through the query tower whatever `ssl.towers` says: where nothing is
            hidden, only another tower makes another view.
    """

    loss: Optional[Literal["contrast", "spread_out", "spread_out_square"]] = None
    draw: Draw = _show_all
    drops_values: bool = True
    drops_features: bool = False
    needs_correlations: bool = False
    hides_features: bool = False
    crosses_towers: bool = False


REGULARIZERS: Mapping[str, Regularizer] = MappingProxyType(
    {
        "none": Regularizer(),
        "cfm": Regularizer("contrast", _draw_correlated, needs_correlations=True, hides_features=True),
        "rfm": Regularizer("contrast", _draw_complementary, hides_features=True),
        "rfm_no_complement": Regularizer("contrast", _draw_independent, hides_features=True),
        "item_masks": Regularizer("contrast", _draw_per_item, hides_features=True),
        "dropout_only": Regularizer("contrast"),
        "across_towers": Regularizer("contrast", drops_values=False, crosses_towers=True),
        "feature_dropout": Regularizer(drops_features=True),
        "spread_out": Regularizer("spread_out"),
        "spread_out_square": Regularizer("spread_out_square"),
    }
)
