"""Floor textures: styles differ, the same seed gives the same floor, and a rug lies where it should."""

import numpy as np
import pytest
from capture.hand_made import make_spec

from sim2edge.capture.floors import HELD_OUT, STYLES, TEXELS_PER_METRE, TRAINING, floor_texture
from sim2edge.capture.specs import Rug
from sim2edge.recipes.perception import FLOORS

ROOM = make_spec().room


def test_every_floor_has_styles_for_training_and_one_held_out():
    assert set(TRAINING) == set(HELD_OUT) == set(FLOORS)
    names = [style for styles in (*TRAINING.values(), *HELD_OUT.values()) for style in styles]
    assert sorted(names) == sorted(STYLES)
    assert all(len(TRAINING[floor]) >= 2 for floor in FLOORS)


@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_drawn_over_the_whole_floor_and_the_same_every_time(style):
    room = ROOM.model_copy(update={"style": style, "texture_seed": "7"})
    picture = floor_texture(room)
    assert picture.shape == (4 * TEXELS_PER_METRE, 6 * TEXELS_PER_METRE, 3)
    assert picture.std() > 3
    assert (picture == floor_texture(room)).all()
    assert (picture != floor_texture(room.model_copy(update={"texture_seed": "8"}))).any()


def test_a_rug_covers_its_rectangle_and_nothing_else():
    rug = Rug(x_m=1, y_m=-0.5, yaw_rad=0, half_x_m=0.8, half_y_m=0.5, style="woven", texture_seed="1")
    bare, covered = floor_texture(ROOM), floor_texture(ROOM.model_copy(update={"rugs": (rug,)}))
    rows, columns = np.nonzero((bare != covered).any(axis=2))
    x, y = columns / TEXELS_PER_METRE - 3, rows / TEXELS_PER_METRE - 2
    assert (x.min(), x.max()) == (pytest.approx(0.2, abs=0.03), pytest.approx(1.8, abs=0.03))
    assert (y.min(), y.max()) == (pytest.approx(-1.0, abs=0.03), pytest.approx(0.0, abs=0.03))
    assert len(rows) > 0.95 * 1.6 * 1.0 * TEXELS_PER_METRE**2
