import hashlib
import json
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save, save_file

from shared.errors import WeightsError
from shared.models.birefnet import BiRefNet, BiRefNetConfig, load
from shared.models.checkpoints import CHECKPOINTS, Checkpoint
from shared.models.weights import convert, fetch, find_weights, open_weights, sha256_of

COMMIT = "a" * 40
PORTRAIT = "ZhengPeng7/BiRefNet-portrait"


class FileServer(ThreadingHTTPServer):
    """Files by path, as a hub or a release page serves them; `short` cuts that many bytes off each answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FileHandler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.short = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class FileHandler(BaseHTTPRequestHandler):
    server: FileServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        data = self.server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        if data is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body and data:
            self.wfile.write(data[: len(data) - self.server.short])

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The table


def test_every_published_checkpoint_is_one_file_at_one_commit():
    assert len(CHECKPOINTS) == 9
    assert len({checkpoint.sha256 for checkpoint in CHECKPOINTS.values()}) == 9
    for name, checkpoint in CHECKPOINTS.items():
        assert name == checkpoint.id
        assert (len(checkpoint.revision), len(checkpoint.sha256)) == (40, 64)
        assert not any(side % 32 for side in checkpoint.image_size)
        assert checkpoint.trained_on_alpha == name.endswith("-matting")


@pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=lambda checkpoint: checkpoint.id)
def test_the_size_of_a_published_file_is_that_of_its_backbone_in_its_dtype(checkpoint):
    with torch.device("meta"):
        state = BiRefNet(BiRefNetConfig(backbone=checkpoint.backbone)).state_dict().values()
    width = {"float32": 4, "float16": 2}[checkpoint.dtype]
    expected = sum(t.numel() * (width if t.is_floating_point() else t.element_size()) for t in state)
    assert expected < checkpoint.size < expected + 200_000  # the rest is the file's header


# Names


@pytest.mark.parametrize("name", ["", "no-such-folder", "a/b/c", "../x", "./x", "bad name/x"])
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(WeightsError, match="neither"):
        find_weights(name)


def test_a_folder_gives_its_checkpoint_and_its_hash_is_logged(tmp_path, caplog):
    save_file({"x": torch.ones(1)}, tmp_path / "epoch_9.safetensors")
    found = find_weights(str(tmp_path))
    assert (found.path.name, found.id, found.revision, found.checkpoint) == (
        "epoch_9.safetensors",
        tmp_path.name,
        "",
        None,
    )
    assert found.sha256 == digest(found.path.read_bytes())
    assert found.sha256 in caplog.text


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds no checkpoint"):
        find_weights(str(tmp_path))


def test_a_folder_of_several_checkpoints_is_refused_with_their_names(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.ones(1)}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"a\.safetensors, b\.safetensors"):
        find_weights(str(tmp_path))


# The hub


def test_a_known_id_with_other_bytes_is_refused(server, tmp_path):
    revision = CHECKPOINTS[PORTRAIT].revision
    server.files[f"/{PORTRAIT}/resolve/{revision}/model.safetensors"] = save({"x": torch.ones(1)})
    with pytest.raises(WeightsError, match="expected 4a4eb3a5"):
        find_weights(PORTRAIT, folder=tmp_path, endpoint=server.url)


def known(data: bytes) -> dict[str, Checkpoint]:
    """The table with the portrait checkpoint being these bytes."""
    return {PORTRAIT: replace(CHECKPOINTS[PORTRAIT], sha256=digest(data))}


def test_a_known_id_is_fetched_at_its_revision_and_recognised(server, tmp_path, caplog):
    data = save({"x": torch.ones(1)})
    table = known(data)
    server.files[f"/{PORTRAIT}/resolve/{table[PORTRAIT].revision}/model.safetensors"] = data
    found = find_weights(PORTRAIT, folder=tmp_path, endpoint=server.url, known=table)
    assert (found.sha256, found.revision, found.checkpoint) == (
        digest(data),
        CHECKPOINTS[PORTRAIT].revision,
        table[PORTRAIT],
    )
    assert not [record for record in caplog.records if record.name.startswith("shared")]


def test_a_local_copy_of_a_published_file_is_recognised_by_its_bytes(tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "copy.safetensors")
    table = known((tmp_path / "copy.safetensors").read_bytes())
    found = find_weights(str(tmp_path), known=table)
    assert (found.id, found.checkpoint) == (tmp_path.name, table[PORTRAIT])


@pytest.fixture
def fetched(server, tmp_path):
    """A known checkpoint of one weight of 1/3, and the table that knows it; its server has forgotten it again."""
    data = save({"x": torch.tensor([1 / 3])})
    table = known(data)
    server.files[f"/{PORTRAIT}/resolve/{table[PORTRAIT].revision}/model.safetensors"] = data
    file = find_weights(PORTRAIT, folder=tmp_path, endpoint=server.url, known=table)
    server.files.clear()
    return file, table


def test_a_copy_in_half_precision_is_taken_in_that_precision_and_keeps_its_origin(fetched, tmp_path):
    file, table = fetched
    copy = convert(file, "float16", tmp_path)
    half = find_weights(PORTRAIT, dtype="float16", folder=tmp_path, endpoint="http://127.0.0.1:9", known=table)
    assert half.path == copy
    assert (half.id, half.sha256) == (PORTRAIT, file.sha256)
    assert torch.equal(open_weights(copy)["x"], torch.tensor([1 / 3]).half())


def test_an_altered_copy_in_half_precision_is_refused(fetched, tmp_path):
    file, table = fetched
    copy = convert(file, "float16", tmp_path)
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match="altered"):
        find_weights(PORTRAIT, dtype="float16", folder=tmp_path, known=table)


def test_only_known_checkpoints_are_converted(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="known"):
        convert(find_weights(str(tmp_path)), "float16", tmp_path)


def test_another_revision_of_a_known_id_is_opened_with_a_warning(server, tmp_path, caplog):
    data = save({"x": torch.ones(1)})
    server.files[f"/{PORTRAIT}/resolve/{COMMIT}/model.safetensors"] = data
    found = find_weights(PORTRAIT, revision=COMMIT, folder=tmp_path, endpoint=server.url)
    assert (found.sha256, found.revision, found.checkpoint) == (digest(data), COMMIT, None)
    assert "not the revision" in caplog.text


def test_an_unknown_id_is_logged_with_its_hash_and_named_by_its_commit(server, tmp_path, caplog):
    data = save({"x": torch.ones(1)})
    server.files["/someone/their-net/resolve/main/model.safetensors"] = data
    found = find_weights("someone/their-net", folder=tmp_path, endpoint=server.url)
    assert (found.id, found.revision, found.sha256, found.config) == ("someone/their-net", COMMIT, digest(data), None)
    assert digest(data) in caplog.text


def test_a_download_is_kept(server, tmp_path):
    path = f"/someone/their-net/resolve/{COMMIT}/model.safetensors"
    server.files[path] = save({"x": torch.ones(1)})
    for _ in range(2):
        find_weights("someone/their-net", revision=COMMIT, folder=tmp_path, endpoint=server.url)
    assert server.asked.count(path) == 1


@pytest.mark.parametrize("revision", ["", COMMIT])
def test_an_id_that_the_hub_does_not_have_is_refused(server, tmp_path, revision):
    with pytest.raises(WeightsError, match="their-net"):
        find_weights("someone/their-net", revision=revision, folder=tmp_path, endpoint=server.url)


# Opening


def test_a_checkpoint_that_carries_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save({"x": Trap()}, tmp_path / "zipped.pth")
    for name in ("trap.pth", "zipped.pth"):
        with pytest.raises(WeightsError, match="safely"):
            open_weights(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(WeightsError, match=name):
        open_weights(tmp_path / name)


def test_a_table_of_other_things_than_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3, "model": {"x": torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="plain table"):
        open_weights(tmp_path / "x.pth")


def test_a_configuration_that_makes_no_sense_is_refused(tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    for text in ("{", "[]", json.dumps({"model_type": "birefnet", "backbone": "swin_v1_t", "depths": [1]})):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=r"config\.json"):
            load(str(tmp_path), device="cpu")


# Release files


def test_a_file_is_fetched_once_and_checked(server, tmp_path):
    server.files["/v1/net.pth"] = b"weights" * 1000
    sha256 = digest(b"weights" * 1000)
    paths = {fetch(f"{server.url}/v1/net.pth", sha256, tmp_path / "kept") for _ in range(2)}
    assert {sha256_of(path) for path in paths} == {sha256}
    assert server.asked == ["/v1/net.pth"]


def test_a_file_that_was_altered_on_disk_is_fetched_again(server, tmp_path):
    server.files["/net.pth"] = b"weights"
    path = fetch(f"{server.url}/net.pth", digest(b"weights"), tmp_path)
    path.write_bytes(b"wrights")
    assert fetch(f"{server.url}/net.pth", digest(b"weights"), tmp_path).read_bytes() == b"weights"


@pytest.mark.parametrize("short", [0, 3])
def test_other_bytes_and_half_a_file_leave_nothing_behind(server, tmp_path, short):
    server.files["/net.pth"] = b"weights"
    server.short = short
    with pytest.raises(WeightsError):
        fetch(f"{server.url}/net.pth", digest(b"weights" if short else b"others"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://example.org/", "net.pth"])
def test_what_is_no_web_address_of_a_file_is_refused(url, tmp_path):
    with pytest.raises(WeightsError, match="address"):
        fetch(url, "0" * 64, tmp_path)


def test_a_missing_file_and_a_dead_server_are_reported(server, tmp_path):
    with pytest.raises(WeightsError, match="404"):
        fetch(f"{server.url}/net.pth", "0" * 64, tmp_path)
    with pytest.raises(WeightsError, match="127"):
        fetch("http://127.0.0.1:9/net.pth", "0" * 64, tmp_path)
