"""Which files a command line means."""

import pytest

from function.local.run.files import NothingToUpload, collect


@pytest.fixture
def tree(tmp_path):
    for name in ("shoes/12.jpg", "shoes/left/13.jpg", "hats/12.jpg", "shoes/.DS_Store", "shoes/.cache/x.png", "readme"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(*paths, **options):
    return [file.name for file in collect(paths, **options)]


def test_a_file_is_uploaded_under_its_own_name(tree):
    assert names(tree / "shoes" / "left" / "13.jpg") == ["13.jpg"]


def test_a_folder_means_every_file_below_it_but_hidden_ones(tree):
    assert names(tree / "shoes") == ["12.jpg", "left/13.jpg"]


def test_a_hidden_file_named_directly_is_meant(tree):
    assert names(tree / "shoes" / ".DS_Store") == [".DS_Store"]


def test_files_of_one_name_keep_what_tells_them_apart(tree):
    assert names(tree / "shoes", tree / "hats") == ["shoes/12.jpg", "left/13.jpg", "hats/12.jpg"]


def test_a_file_named_twice_is_uploaded_once(tree):
    assert names(tree / "hats", tree / "hats" / "12.jpg") == ["12.jpg"]


def test_earlier_results_inside_the_folder_are_no_uploads(tree):
    (tree / "out").mkdir()
    (tree / "out" / "12.png").write_text("a result")
    assert names(tree, leave_out=tree / "out") == ["readme", "hats/12.jpg", "shoes/12.jpg", "shoes/left/13.jpg"]


def test_a_missing_path_is_named(tree):
    with pytest.raises(NothingToUpload, match=r"no such file or folder: .*gloves"):
        collect([tree / "hats", tree / "gloves"])


def test_an_empty_folder_is_named(tree):
    (tree / "empty").mkdir()
    with pytest.raises(NothingToUpload, match=r"no files in .*empty"):
        collect([tree / "empty"])


def test_a_name_that_is_not_utf8_becomes_one(tree):
    raw = bytes(tree) + b"/hats/\xff.jpg"
    with open(raw, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    assert "\N{REPLACEMENT CHARACTER}.jpg" in names(tree / "hats")


def test_only_images_are_taken_from_folders_on_request(tree):
    (tree / "hats" / "photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert names(tree / "hats", images_only=True) == ["photo"]
    assert names(tree / "hats", tree / "readme", images_only=True) == ["photo", "readme"]
    with pytest.raises(NothingToUpload, match="no images"):
        names(tree / "shoes", images_only=True)
