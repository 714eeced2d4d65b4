"""The settings of a training run, as `emf-ros train --set` gives them."""

import re
from dataclasses import fields, is_dataclass, replace

import pytest

from emf_ros.train.detector_errors import DetectorErrors
from emf_ros.train.losses import LossWeights
from emf_ros.train.settings import TrainConfig

PLAIN = TrainConfig("lite", "m", "o")


def test_settings_are_changed_by_name():
    plain = PLAIN
    changed = plain.changed(
        [
            "learning_rate=1e-3",
            "batch=4",
            "loss.distance=squared",
            "cameras.distance_m=[1, 2]",
            "lifter.features=none",
            "lifter.motion.dropout=0.2",
            "lifter.layers=3",
            "errors.bias=0",
        ]
    )
    assert changed == replace(
        plain,
        learning_rate=1e-3,
        batch=4,
        loss=LossWeights(distance="squared"),
        cameras=replace(plain.cameras, distance_m=(1, 2)),
        lifter={"features": "none", "motion": {"dropout": 0.2}, "layers": 3},
        errors=replace(plain.errors, bias=0.0),
    )
    network = changed.network()
    assert (network.features, network.layers) == ("none", 3)
    assert network.motion == replace(plain.network().motion, dropout=0.2)
    assert dict(changed.differences())["lifter.features"] == '"none"'
    assert plain.differences() == []
    again = plain.changed([f"{name}={value}" for name, value in changed.differences()])
    assert again == changed


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("batch", "'batch' is not SETTING=VALUE"),
        ("bach=3", "no setting 'bach'; known here: preset, "),
        ("loss.speed=3", "no setting 'loss.speed'; known here: velocity"),
        ("batch.size=3", "batch has no settings"),
        ("batch=many", "batch is a int, as 8 is; 'many' is not"),
        ("batch=2.5", "batch is a int"),
        ("batch=0", "batch=0: batch must be 1 or more"),
        ("cameras.fov_deg=[40, 100", "cameras.fov_deg=[40, 100: it is no YAML"),
        ("cameras.fov_deg=[40]", "is a list of 2 numbers, as [40.0, 100.0] is; '[40]' is not"),
        ("diversity.key_interval_s=[1]", "is a list of 2 numbers"),
        ("cameras.distance_m=[near, far]", "is a list of 2 numbers"),
        ("validation=anna", "is a list of names, as [] is; 'anna' is not"),
        ("validation=[1, 2]", "is a list of names"),
        ("errors.astray=0.1", "has settings of its own, such as errors.astray.rate"),
        ("lifter=3", "lifter is a dict"),
        pytest.param("batch=1" + 400 * "0", "int too large", id="a number of 401 digits"),
    ],
)
def test_settings_that_do_not_exist_or_fit_are_refused(assignment, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PLAIN.changed([assignment])


@pytest.mark.parametrize(
    "assignment",
    [
        "learning_rate=0",
        "learning_rate=.nan",
        "clip_norm=-1.0",
        "clip_norm=.inf",
        "ema=2.0",
        "ema=1",
        "weight_decay=-0.1",
        "warmup=-0.1",
        "cooldown=1.1",
        "validate_minutes=0",
        "save_minutes=-3.0",
        "seed=-1",
        "budget_minutes=.inf",
        "loss.distance=foo",
        "loss.velocity=-1",
        "cameras.distance_m=[0, 8]",
        "cameras.distance_m=[8, 1]",
        "cameras.fov_deg=[40, 180]",
        "cameras.pitch_deg=[-100, 0]",
        "cameras.roll_deg=-10",
        "cameras.aspect=[0, 1]",
        "cameras.body_scale=[0, 1]",
        "cameras.speed=[-1, 1]",
        "cameras.mirror=1.5",
        "errors.spread=[0, 0.02]",
        "errors.slow_correlation=[0.5, 1]",
        "errors.anisotropy=[0, 1]",
        "errors.edge_logit=[-1, 3]",
        "errors.edge_noise=-1",
        "errors.missing.rate=2",
        "errors.missing.length=0",
        "diversity.tilt=1.5",
        "diversity.fall_s=[0, 1]",
        "diversity.swing_deg=-1",
        "diversity.leg_length=1",
        "diversity.tilt_deg=200",
    ],
)
def test_senseless_values_are_refused_with_their_assignment(assignment):
    with pytest.raises(ValueError, match=f"^{re.escape(assignment)}: .*"):
        PLAIN.changed([assignment])


def settings_of(settings, prefix=""):
    """Names and values of all settings, nested ones with dots."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from settings_of(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def test_no_number_may_be_infinite():
    """A setting that is new and not checked fails here."""
    numbers = 0
    for name, value in settings_of(PLAIN):
        if isinstance(value, float):
            text = ".inf"
        elif isinstance(value, tuple) and value:
            text = "[1.0, .inf]"
        else:
            continue
        numbers += 1
        with pytest.raises(ValueError, match=re.escape(f"{name}={text}: ")):
            PLAIN.changed([f"{name}={text}"])
    assert numbers > 60


def test_ranges_at_their_limits_are_accepted():
    changed = PLAIN.changed(
        [
            "cameras.distance_m=[2e0, 2]",
            "cameras.speed=[0, 1]",
            "errors.edge_logit=[10, 3]",
            "errors.spread=[0, 0]",
            "warmup=0",
            "cooldown=1",
            "ema=0",
            "validation=[anna, bert]",
            "out=2024",
        ]
    )
    assert changed.cameras.distance_m == (2.0, 2.0) and changed.out == "2024"
    assert changed.validation == ("anna", "bert")
    assert DetectorErrors.none().spread == (0.0, 0.0)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lifter.motion=3", "motion has settings of its own"),
        ("lifter.motion.scales=3", "scales must be a list of whole numbers"),
        ("lifter.motion.dropout=2", "dropout must be a number in 0..1"),
        ("lifter.motion.dropout=much", "dropout must be a number in 0..1"),
        ("lifter.motion.final_relu=nein", "final_relu must be true or false"),
        ("lifter.temporal_position=1", "temporal_position must be true or false"),
        ("lifter.layers=true", "layers must be a whole number"),
        ("lifter.layout=[a]", "unknown joint layout"),
        ("lifter.layers.deep=1", "layers must be a whole number"),
    ],
)
def test_settings_of_the_network_that_do_not_fit_are_refused(assignment, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PLAIN.changed([assignment]).network()
