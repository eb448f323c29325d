"""Batches hold every frame once a pass, and mirrored frames keep their boxes on their obstacles."""

import numpy as np
import torch

from sim2edge.recipes.perception import assign_cells, decode, grid_shapes, signature
from sim2edge.train.data import Colours, Variation, draw, make_split, mirror_cells, random_colours, shuffled_batches


def test_a_pass_holds_every_frame_once(train_frames):
    split = make_split(train_frames)
    batches = list(shuffled_batches(split, 16, Variation(0.0, 0.0), torch.Generator().manual_seed(0)))
    assert [len(batch.images) for batch in batches] == [16, 16, 8]
    drawn = torch.cat([batch.images for batch in batches]).sum(dim=(1, 2, 3)).sort().values
    assert torch.allclose(drawn, (split.images.float() / 255).sum(dim=(1, 2, 3)).sort().values)


def test_the_same_seed_gives_the_same_batches(train_frames):
    split = make_split(train_frames)
    first, second = (
        next(shuffled_batches(split, 8, Variation(0.5, 0.5), torch.Generator().manual_seed(5))) for _ in range(2)
    )
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.boxes, second.boxes)


def test_batches_are_channels_last_without_a_copy(train_frames):
    batch = draw(make_split(train_frames), torch.arange(4))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.shape == (4, 3, 48, 64)
    assert 0 <= batch.images.min() < batch.images.max() <= 1


def test_each_claimed_cell_tells_the_box_it_was_assigned(train_frames):
    batch = draw(make_split(train_frames), torch.arange(len(train_frames)))
    for frame in range(len(train_frames)):
        span = slice(train_frames.starts[frame], train_frames.starts[frame + 1])
        owners = assign_cells(train_frames.boxes[span], grid_shapes(48, 64))
        here = batch.frame == frame
        assert batch.cell[here].tolist() == np.flatnonzero(owners >= 0).tolist()
        np.testing.assert_array_equal(batch.boxes[here], train_frames.boxes[span][owners[owners >= 0]])
        np.testing.assert_array_equal(batch.classes[here], train_frames.classes[span][owners[owners >= 0]])


def test_mirroring_moves_pixels_and_boxes_together(train_frames):
    split, rows = make_split(train_frames), torch.arange(6)
    plain, mirrored = draw(split, rows), draw(split, rows, torch.tensor([True, False] * 3))
    assert torch.equal(mirrored.images[0], plain.images[0].flip(2))
    assert torch.equal(mirrored.images[1], plain.images[1])
    before, after = plain.boxes[plain.frame == 0], mirrored.boxes[mirrored.frame == 0]
    turned = torch.stack([1 - before[:, 2], before[:, 1], 1 - before[:, 0], before[:, 3]], dim=1)
    assert sorted(turned.tolist()) == sorted(after.tolist())
    assert set(mirror_cells(48, 64)[mirrored.cell[mirrored.frame == 0]].tolist()) == set(
        plain.cell[plain.frame == 0].tolist()
    )


def test_mirroring_twice_is_the_identity():
    mirror = mirror_cells(96, 128)
    assert torch.equal(mirror[mirror], torch.arange(240))


def test_a_network_and_its_loss_mean_the_same_box(train_frames):
    from sim2edge.recipes.perception import cell_geometry
    from sim2edge.train.losses import decode_boxes

    raw = torch.randn(1, 60, 12)
    raw[..., 0] = 9
    cells = cell_geometry(grid_shapes(48, 64))
    learned = decode_boxes(raw[0, :, 7:11], torch.tensor(cells)).clamp(0, 1)
    arguments = {**signature(48, 64), "iou_threshold": 1.1, "score_threshold": 0.0, "max_detections": 60}
    (told,) = decode(np.zeros((1, 4)), raw.numpy(), **arguments)
    np.testing.assert_allclose(sorted(told.boxes.tolist()), sorted(learned.tolist()), atol=1e-5)


def test_a_share_of_the_frames_gets_other_colours(train_frames):
    colours = random_colours(400, 0.5, torch.Generator().manual_seed(0))
    kept = (colours.gain == 1).all(dim=1)
    assert 120 < kept.sum() < 280
    assert (colours.order[kept] == torch.arange(3)).all()
    assert (colours.order.sort(dim=1).values == torch.arange(3)).all()
    split, rows = make_split(train_frames), torch.arange(2)
    plain = draw(split, rows).images
    swapped = draw(split, rows, colours=Colours(torch.tensor([[2, 1, 0]] * 2), torch.ones(2, 3))).images
    assert torch.allclose(swapped, plain.flip(1))
    brighter = draw(split, rows, colours=Colours(torch.tensor([[0, 1, 2]] * 2), torch.full((2, 3), 1.4))).images
    assert torch.allclose(brighter, (plain * 1.4).clamp(max=1))
