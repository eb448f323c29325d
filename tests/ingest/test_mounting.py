"""How a scanner sits on its robot, from rotations: turned, upside down, or not level."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.foreign_logs import turned

from sim2edge.ingest.mounting import (
    IDENTITY,
    Sitting,
    angle_between,
    inverse,
    multiply,
    rotation_of,
    unit,
    upright,
)

ANGLES = st.floats(-math.pi, math.pi)


def apart(first: float, second: float) -> float:
    return abs((first - second + math.pi) % math.tau - math.pi)


@pytest.mark.parametrize(
    ("rotation", "yaw_deg", "flipped"),
    [
        (IDENTITY, 0, False),
        (turned(yaw=180), 180, False),
        (turned(yaw=-135), -135, False),
        (turned(roll=180), 0, True),
        (turned(pitch=180), 180, True),
        (turned(roll=180, yaw=90), 90, True),
        (turned(roll=180, pitch=180), 180, False),
        (turned(roll=-180, yaw=30), 30, True),
        (turned(roll=2, pitch=-2, yaw=45), 45, False),
        (turned(roll=178), 0, True),
        (tuple(-part for part in turned(yaw=90)), 90, False),
        (unit(0, 0, 0.7072, 0.7072), 90, False),
        (unit(1, 0, 0, 6e-17), 0, True),
    ],
)
def test_a_level_scanner_is_turned_upright_or_upside_down(rotation, yaw_deg, flipped):
    found = upright(rotation)
    assert found.flipped is flipped
    assert apart(found.yaw_rad, math.radians(yaw_deg)) < 0.002


@pytest.mark.parametrize(
    ("rotation", "angles"),
    [
        (turned(roll=90), "tilted by 90.0 degrees (roll 90.0, pitch 0.0, yaw 0.0)"),
        (turned(pitch=20, yaw=10), "tilted by 20.0 degrees (roll 0.0, pitch 20.0, yaw 10.0)"),
        (turned(pitch=-4), "tilted by 4.0 degrees (roll 0.0, pitch -4.0, yaw 0.0)"),
        (turned(roll=170), "tilted by 10.0 degrees (roll 170.0, pitch 0.0, yaw 0.0)"),
        (turned(roll=-90, yaw=-90), "tilted by 90.0 degrees"),  # the optical frame of a camera
    ],
)
def test_a_scanner_that_is_not_level(rotation, angles):
    with pytest.raises(ValueError, match="within 3 degrees") as refused:
        upright(rotation)
    assert str(refused.value).startswith(angles)


@pytest.mark.parametrize("q", [(0, 0, 0, 0), (0, 0, 0, 2), (1, 1, 0, 0), (math.nan, 0, 0, 1), (0, 0, 90, 0)])
def test_a_quaternion_that_is_no_rotation(q):
    with pytest.raises(ValueError, match="is no rotation: its norm is"):
        unit(*q)


def test_a_quaternion_of_few_digits_is_scaled():
    assert math.hypot(*unit(0, 0, 0.707, 0.707)) == pytest.approx(1, abs=1e-15)


@given(ANGLES, st.booleans(), st.tuples(ANGLES, ANGLES, ANGLES))
def test_a_chain_through_any_frame_gives_the_mounting_back(yaw, flipped, between):
    middle = turned(*map(math.degrees, between))
    chain = multiply(middle, multiply(inverse(middle), rotation_of(yaw, flipped)))
    found = upright(chain)
    assert found.flipped is flipped
    assert apart(found.yaw_rad, yaw) < 1e-6


@given(ANGLES, ANGLES)
def test_the_angle_between_two_directions(one, other):
    assert angle_between(rotation_of(one), rotation_of(other)) == pytest.approx(apart(one, other), abs=1e-6)


def test_the_report_is_in_degrees():
    assert str(Sitting(math.pi / 2, flipped=True)) == "yaw 90.0 degrees, upside down"
