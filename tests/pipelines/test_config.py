"""Settings: what `--set section.key=value` makes of the defaults, and what it says to a slip."""

import dataclasses

import pytest

from pipelines.config import RunConfig, parse_overrides
from recsys_ssl.settings import ConfigError
from recsys_ssl.training.config import BY_LOG, SslConfig, TrainConfig

NONE = SslConfig(regularizer="none")


def parse_set(overrides):
    """The settings, what they leave to the log apart."""
    config = parse_overrides(overrides)
    arms = {arm: dataclasses.replace(getattr(config, arm), by_log=()) for arm in ("train", "control")}
    return dataclasses.replace(config, **arms)


def test_without_overrides_the_control_has_no_regularizer_and_all_else_is_default():
    assert parse_set([]) == RunConfig()
    assert RunConfig().control == TrainConfig(ssl=NONE)
    assert RunConfig().train == TrainConfig()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.steps=20", 20),
        ("train.learning_rate=1e-3", 1e-3),
        ("train.temperature=1", 1.0),
        ("train.trainable_default=false", False),
        ("train.hidden=[64, 32]", (64, 32)),
        ("train.hidden=[]", ()),
        ("ingest.num_partitions=2", 2),
        ("index.method=hash", "hash"),
        ("index.num_leaves=null", None),
        ("evaluation.primary=ndcg_at_10", "ndcg_at_10"),
        ("push.keep=7", 7),
    ],
)
def test_a_value_is_yaml_of_the_type_of_its_setting(override, value):
    section, _, name = override.partition("=")[0].partition(".")
    config = parse_set([override])
    found = getattr(getattr(config, section), name)
    assert found == value
    assert type(found) is type(value)
    # Nothing else changed, but that the control follows the treatment.
    changed = dataclasses.replace(getattr(RunConfig(), section), **{name: value})
    expected = dataclasses.replace(RunConfig(), **{section: changed})
    if section == "train":
        expected = dataclasses.replace(expected, control=TrainConfig(**{"ssl": NONE, name: value}))
    assert config == expected


def test_the_last_of_several_wins_and_a_value_may_hold_an_equals_sign():
    assert parse_overrides(["train.steps=3", "train.steps=4"]).train.steps == 4
    with pytest.raises(ConfigError, match="Received: 'a=b'"):
        parse_overrides(["train.ssl.regularizer=a=b"])


def test_settings_nest():
    config = parse_set(["train.ssl.weight=1", "train.encoder.molecule.size=small", "train.ssl.towers=both"])
    assert config.train == TrainConfig(
        ssl=SslConfig(weight=1.0, towers="both"), encoder={"molecule": {"size": "small"}}
    )
    assert config == parse_set(
        ["train.ssl.weight=1", "train.ssl={towers: both}", "train.encoder={molecule: {size: small}}"]
    )
    # The control has the encoder, and nothing of the regularizer.
    assert config.control == TrainConfig(ssl=NONE, encoder={"molecule": {"size": "small"}})


def test_the_control_inherits_from_train_and_its_own_settings_win():
    config = parse_set(
        ["control.steps=5", "train.steps=20", "train.hidden=[8]", "train.ssl.regularizer=rfm", "train.seed=3"]
    )
    assert config.train == TrainConfig(steps=20, hidden=(8,), ssl=SslConfig(regularizer="rfm"), seed=3)
    assert config.control == TrainConfig(steps=5, hidden=(8,), ssl=NONE, seed=3)
    both = parse_set(["control.ssl.regularizer=spread_out", "train.ssl.weight=1", "control.ssl.temperature=1"])
    assert both.control.ssl == SslConfig(regularizer="spread_out", weight=1.0, temperature=1.0)
    assert both.train.ssl == SslConfig(weight=1.0)


def test_what_is_not_set_is_left_to_the_log():
    config = parse_overrides(["train.steps=20", "train.ssl.batch_size=8", "control.learning_rate=1"])
    assert config.train.by_log == ("batch_size", "learning_rate", "temperature", "start.ids")
    assert config.control.by_log == ("batch_size", "temperature", "start.ids", "ssl.batch_size")
    assert parse_overrides(["train.start.ids=random", "train.ssl.weight=1"]).train.by_log == tuple(
        name for name in BY_LOG if name != "start.ids"
    )
    fixed = parse_overrides(["train.by_log=[]", "train.steps=3"])
    assert fixed.train.by_log == fixed.control.by_log == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.steps=3", "SECTION.KEY=VALUE with a section of ingest, train, control, index, evaluation, push"),
        ("train.steps", "SECTION.KEY=VALUE"),
        ("steps=3", "SECTION.KEY=VALUE"),
        ("train.step=3", r"unknown setting train\.step\. Use one of: seed, steps, "),
        ("train.steps=many", r"train\.steps: Input should be a valid integer.* Received: 'many'"),
        ("train.steps=2.5", r"train\.steps: .*integer.* Received: 2\.5"),
        ("train.steps=", r"train\.steps: .*integer.* Received: None"),
        ("train.steps=0", r"^train\.steps must be at least 1\. Received: 0\.$"),
        (
            "control.temperature=0",
            r"^control: train\.temperature must be positive\. Received: 0\.0\. Raise it\.$",
        ),
        ("train.hidden=64", r"train\.hidden: .*tuple.* Received: 64"),
        ("train.hidden=[a]", r"train\.hidden\.0: .*integer.* Received: 'a'"),
        ("train.hidden=[64", r"^train\.hidden: the value must be YAML\. Received: '\[64'"),
        ("train.ssl.regularizer=clm", r"train\.ssl\.regularizer must be one of none, cfm, .* Received: 'clm'"),
        ("train.ssl.wight=1", r"unknown setting train\.ssl\.wight\. Use one of: regularizer, "),
        ("train.ssl=3", r"train\.ssl: .* Received: 3"),
        ("train.encoder.film.size=3", r"a kind must be one of molecule.*\. Received: 'film'"),
        ("control.ssl=[1]", r"^control\.ssl: .* Received: \[1\]"),
        ("train.steps=true", r"^train\.steps must be a whole number\. Received: true\.$"),
        ("train.learning_rate=true", r"^train\.learning_rate must be a number\. Received: true\.$"),
        ("train.hidden=[true, 64]", r"^train\.hidden\.0 must be a whole number\. Received: true\.$"),
        ("train.ssl.weight=no", r"^train\.ssl\.weight must be a number\. Received: false\.$"),
        ("index.num_leaves=true", r"^index\.num_leaves must be a whole number\. Received: true\.$"),
        ("evaluation.confidence=true", r"^evaluation\.confidence must be a number\. Received: true\.$"),
        (
            "train.encoder.molecule.hidden_dim=true",
            r"train\.encoder\.molecule\.hidden_dim must be a whole number\. Received: true\.$",
        ),
        ("train.steps.x=1", r"train\.steps: .*integer.*"),
        ("ingest.num_partitions=0", r"^ingest: num_partitions must be at least 1\. Received: num_partitions=0\.$"),
        ("ingest.num_partitions=9999999", r"num_partitions must be at most 100,000"),
        ("index.num_leaves=-1", r"^index: num_leaves must be positive\. Received: num_leaves=-1\.$"),
        ("index.method=kd", r"index\.method: .*'tree'.* Received: 'kd'"),
        ("evaluation.primary=auc", r"evaluation: primary must be an overall metric\. Received: 'auc'"),
    ],
)
def test_a_slip_is_one_line_that_names_setting_and_value(override, message):
    with pytest.raises(ConfigError, match=message) as raised:
        parse_overrides([override])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "override",
    [
        *("train.learning_rate=inf", "train.learning_rate=.inf", "train.learning_rate=1e400", "train.ssl.weight=nan"),
        *("train.steps=99999999999", f"train.steps={'9' * 5000}", "train.batch_size=2000000", "train.hidden=[100000]"),
        *("train.encoder.molecule.hidden_dim=99999999", "evaluation.bootstrap_samples=99999999"),
        *("train.steps=&a [*a]", f"train.steps={'[' * 5000}", "train.steps=!!python/name:os.system x"),
        *(f"train.{'a' * 5000}=1", "train.\x1b[31m=1", "train.steps='\x1b[31m'", "train.steps=\ud800"),
        *("train.ssl={1: 2}", "train.encoder={1: 2}", "train.encoder.molecule=3", f"train.{'a.' * 5000}a=1"),
    ],
    ids=lambda override: ascii(override[:40]),
)
def test_an_absurd_value_is_one_short_line(override):
    with pytest.raises(ConfigError) as raised:
        parse_overrides([override])
    message = str(raised.value)
    assert message.isprintable()
    assert len(message) < 600
