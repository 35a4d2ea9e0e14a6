"""The command that measures a model on photographs with masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.models.embedded import evaluate
from shared.models.embedded.evaluate import Figures, auc, compare, cross_validated, fit, main, photographs, reliability


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three red discs on blue with their masks, two of one source and one of another, one with an unknown ring."""
    rows, columns = np.mgrid[:90, :120]
    for name in ("images", "masks"):
        (tmp_path / "evaluation" / name).mkdir(parents=True)
    listed = ["file,source,domain"]
    for index, radius in enumerate((20, 30, 40)):
        distance = np.hypot(rows - 45, columns - 60)
        image = np.where((distance < radius)[..., None], (20, 30, 220), (200, 60, 30)).astype(np.uint8)
        mask = np.where(distance < radius, 255, 0).astype(np.uint8)
        if index == 0:
            mask[(distance >= radius) & (distance < radius + 10)] = 128
        cv2.imwrite(str(tmp_path / "evaluation" / "images" / f"{index}.jpg"), image)
        cv2.imwrite(str(tmp_path / "evaluation" / "masks" / f"{index}.png"), mask)
        listed.append(f"evaluation/images/{index}.jpg,{'discs' if index else 'rings'},red")
    (tmp_path / "index.csv").write_text("\n".join(listed))
    return tmp_path / "evaluation"


def half(height: int = 100, width: int = 100) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


def test_overlap_and_error_are_those_worked_by_hand():
    probability = np.zeros((100, 100), np.float32)
    probability[:50] = 0.8
    figures = compare(probability, half())
    assert figures.iou == pytest.approx(1 / 3)
    assert figures.error == pytest.approx((0.2 + 1 + 0.8 + 0) / 4)
    assert compare(half().astype(np.float32) / np.float32(255), half()) == Figures(1.0, 0.0, 1.0)


def test_boundary_iou_compares_bands_of_two_hundredths_of_the_diagonal():
    mask = np.zeros((300, 400), np.uint8)
    mask[100:200, 100:200] = 255
    grown = np.zeros((300, 400), np.float32)
    grown[95:205, 95:205] = 1  # five pixels more on each side; the bands are ten wide
    outer, inner = 110**2 - 90**2, 100**2 - 80**2
    shared = 100**2 - 90**2
    assert compare(grown, mask).boundary == pytest.approx(shared / (outer + inner - shared))


def test_unknown_pixels_count_nowhere():
    mask, probability = half(), half().astype(np.float32) / np.float32(255)
    mask[:, 40:60] = 128
    probability[:, 40:60] = 0.2
    assert compare(probability, mask) == Figures(1.0, 0.0, 1.0)


def test_two_empty_masks_agree():
    assert compare(np.zeros((8, 8), np.float32), np.zeros((20, 20), np.uint8)).iou == 1


def test_photographs_come_with_their_masks_and_groups(folder: Path):
    seen = list(photographs(folder))
    assert [p.name for p in seen] == ["0", "1", "2"]
    assert seen[0].groups == ("source rings", "domain red")
    assert seen[1].image.shape == (90, 120, 3)
    assert seen[1].image[45, 60, 0] > 200 > seen[1].image[45, 60, 2]  # RGB
    assert (seen[1].mask == 255).sum() == pytest.approx(np.pi * 30**2, rel=0.02)


def test_a_folder_without_photographs_or_masks_says_so(tmp_path: Path, folder: Path):
    with pytest.raises(FileNotFoundError, match="no photographs"):
        list(photographs(tmp_path))
    (folder / "masks" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.jpg"):
        list(photographs(folder))


def test_methods_without_a_network_find_a_disc_on_a_plain_ground(folder: Path):
    for photograph in photographs(folder):
        for name in ("Otsu, colour", "Otsu, brightness"):
            assert compare(evaluate.BASELINES[name](photograph.image), photograph.mask).iou > 0.95, name


def test_a_photograph_keeps_its_aspect_ratio_in_multiples_of_32():
    assert evaluate._size_like(np.zeros((300, 600, 3), np.uint8), 256) == (352, 192)
    assert evaluate._size_like(np.zeros((500, 500, 3), np.uint8), 256) == (256, 256)


def test_the_order_of_good_and_bad_is_counted_in_pairs():
    good = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.4, 0.4, 0.1]), good) == pytest.approx((4 - 0.5) / 4)


def test_a_fit_finds_the_weights_that_made_its_data():
    random = np.random.default_rng(0)
    figures = random.uniform(-1, 1, (20_000, 2))
    chances = 1 / (1 + np.exp(-(0.5 + 3 * figures[:, 0] - 2 * figures[:, 1])))
    good = random.random(len(figures)) < chances
    assert fit(figures, good) == pytest.approx([0.5, 3, -2], abs=0.15)
    assert reliability(chances, good).count("\n") == 5


def test_cross_validation_finds_no_order_in_noise():
    random = np.random.default_rng(1)
    assert cross_validated(random.random((200, 2)), random.random(200) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_the_command_prints_the_model_other_weights_and_the_methods_without_a_network(
    folder: Path, capsys, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["evaluate", str(folder), "--against", "embedded", "--size", "64", "--each"])
    main()
    printed = capsys.readouterr().out
    for expected in ("mean IoU", "embedded", "source rings", "domain red", "Otsu, colour", "ellipse"):
        assert expected in printed
