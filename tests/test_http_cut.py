"""POST /cut: one image over HTTP, by the same server that takes the bucket's events."""

import io
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flask
import pytest
import requests
from PIL import Image
from werkzeug.wrappers import Response

from function import openapi
from function.admission import Admission
from function.http_cut import HttpCut
from function.local import ServerProcess
from function.making import ResultMaker
from function.settings import Settings
from shared import errors
from shared.options import PARSERS, CutOptions
from tests.conftest import photo
from tests.images import scans
from tests.service import Service, running
from tests.shop import Bright

ROOT = Path(__file__).parents[1]
LIMIT = 2_000_000  # bytes of an upload
PIXELS = 1_000_000


@pytest.fixture(scope="module")
def direct(tmp_path_factory, model):
    log = tmp_path_factory.mktemp("http") / "server.log"
    limit, pixels = str(LIMIT), str(PIXELS)
    with running(log, model, HTTP_CUT="true", CONCURRENCY="4", MAX_UPLOAD_BYTES=limit, MAX_PIXELS=pixels) as service:
        yield service


def cut(service: Service, data: bytes = b"", accept: str = "", **query: str) -> requests.Response:
    headers = {"accept": accept} if accept else {}
    return requests.post(f"{service.server.url}/cut", data=data or photo(), params=query, headers=headers, timeout=60)


def code(response: requests.Response) -> str:
    """Of a problem, whose other members are checked here."""
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert (told["status"], told["type"].rpartition(":")[2]) == (response.status_code, told["code"])
    assert told["title"]
    assert told["detail"]
    return str(told["code"])


@pytest.mark.parametrize(
    "options",
    [{}, {"crop": "true", "crop-margin": "5%", "bg_color": "fff"}, {"format": "webp"}, {"output_format": "zip"},
     {"channels": "alpha"}],
    ids=str,
)  # fmt: skip
def test_the_cutout_has_the_bytes_that_the_same_upload_through_the_bucket_gets(direct, options):
    name = "equal-" + "-".join(options)
    direct.upload(
        f"{name}.jpg", photo(160, 120, seed=4), **{key.replace("-", "_"): text for key, text in options.items()}
    )
    told = direct.outcome(f"{name}.jpg")
    answer = cut(direct, photo(160, 120, seed=4), **options)
    stored = direct.results.blob(told["outputs"][0]["name"])
    assert answer.status_code == 200, answer.text
    assert answer.content == stored.download_as_bytes()
    assert answer.headers["content-type"] == told["outputs"][0]["content_type"]
    assert json.loads(answer.headers["cutdrop-subject"]) == told["subject"]
    assert json.loads(answer.headers["cutdrop-model"]) == told["model"]
    assert json.loads(answer.headers["cutdrop-notes"]) == told["notes"]
    assert float(answer.headers["cutdrop-confidence"]) == told["subject"]["confidence"]
    assert answer.headers["cutdrop-review"] == direct.published(f"{name}.jpg")[0].attributes["review"]


def test_the_answer_tells_how_long_each_step_took(direct):
    steps = dict(step.split(";dur=") for step in cut(direct).headers["server-timing"].split(", "))
    assert list(steps) == ["download", "decode", "segment", "matte", "upscale", "encode", "total"]
    parts = sum(float(spent) for name, spent in steps.items() if name != "total")
    assert 0 < parts <= float(steps["total"]) + 1


def test_nothing_is_stored_and_nothing_is_published(direct):
    direct.settled()
    messages, objects = len(direct.cloud.topics.messages), len(list(direct.results.list_blobs()))
    assert cut(direct).status_code == 200
    assert (len(direct.cloud.topics.messages), len(list(direct.results.list_blobs()))) == (messages, objects)


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("", {}, "PNG"),
        ("*/*", {}, "PNG"),
        ("image/*", {}, "PNG"),
        ("image/webp", {}, "WEBP"),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", {}, "PNG"),
        ("image/png;q=0.5, image/webp;q=0.9", {}, "WEBP"),
        ("image/jpeg, image/png;q=0.1", {}, "PNG"),  # without a background there is no JPEG
        ("image/jpeg, image/png;q=0.1", {"bg_color": "white"}, "JPEG"),
        ("image/webp, */*;q=0.1", {"format": "png"}, "PNG"),
    ],
)
def test_accept_chooses_the_format_unless_the_query_does(direct, accept, query, expected):
    answer = cut(direct, accept=accept, **query)
    assert answer.status_code == 200, answer.text
    assert Image.open(io.BytesIO(answer.content)).format == expected


@pytest.mark.parametrize(("accept", "query"), [("text/html", {}), ("image/webp", {"format": "png"}), ("*/*;q=0", {})])
def test_a_caller_who_accepts_no_format_of_ours_is_told_so(direct, accept, query):
    answer = cut(direct, accept=accept, **query)
    assert (answer.status_code, code(answer)) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("data", "query", "status", "expected"),
    [
        (b"not an image", {}, 415, "unsupported_media"),
        (photo()[:-200], {}, 422, "corrupt_image"),
        (photo(1200, 900), {}, 413, "image_too_large"),
        (scans(600, side=100), {}, 422, "image_too_complex"),
        (bytes(LIMIT + 1), {}, 413, "upload_too_large"),
        (photo(), {"mask_kernel": "4"}, 400, "invalid_options"),
        (photo(), {"outputs": "mask: channels=alpha"}, 400, "invalid_options"),
        (photo(), {"source": "gs://other/object"}, 400, "invalid_options"),
        (photo(), {"crop": ["true", "false"]}, 400, "invalid_options"),
        (photo(), {"format": "jpg"}, 400, "invalid_options"),
        (photo(), {"alpha_matting": "vitmatte"}, 400, "invalid_options"),
    ],
)
def test_an_error_is_a_problem_with_the_code_that_an_upload_gets(direct, data, query, status, expected):
    answer = cut(direct, data, **query)
    assert (answer.status_code, code(answer)) == (status, expected)


def test_an_empty_body_is_no_image(direct):
    answer = requests.post(f"{direct.server.url}/cut", timeout=60)
    assert (answer.status_code, code(answer)) == (415, "unsupported_media")


def test_a_body_in_chunks_is_taken_and_limited_as_any_other(direct):
    def chunks(data: bytes):
        yield from (data[at : at + 1000] for at in range(0, len(data), 1000))

    def sent(data: bytes) -> requests.Response:
        return requests.post(f"{direct.server.url}/cut", data=chunks(data), timeout=60)

    assert sent(photo()).content == cut(direct).content
    answer = sent(bytes(LIMIT + 1))
    assert (answer.status_code, code(answer)) == (413, "upload_too_large")


def test_a_body_that_ends_too_early_is_a_problem_and_holds_nothing(direct):
    with socket.create_connection(("127.0.0.1", direct.server.port), timeout=30) as connection:
        connection.sendall(b"POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)
        said = connection.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 400")
    assert b'"bad_request"' in said
    assert cut(direct).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_a_problem_too(direct, method):
    answer = requests.request(method, f"{direct.server.url}/cut", timeout=60)
    assert (answer.status_code, code(answer), answer.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_a_cloudevent_on_another_path_is_an_event_as_ever_and_other_methods_are_what_they_were(direct):
    assert direct.post("/", data=b"not an event").text == "OK"
    assert direct.post("/elsewhere", data=b"not an event").text == "OK"
    assert requests.get(f"{direct.server.url}/", timeout=60).status_code == 405
    assert requests.get(f"{direct.server.url}/startup", timeout=60).text == "ready\n"


def test_without_the_setting_nothing_is_cut_and_nothing_described(service):
    answer = requests.post(f"{service.server.url}/cut", data=photo(), timeout=60)
    assert (answer.status_code, answer.text) == (200, "OK")  # as any POST that is no event: acknowledged
    assert requests.get(f"{service.server.url}/cut", timeout=60).status_code == 405
    assert requests.get(f"{service.server.url}/openapi.json", timeout=60).status_code == 405


def test_without_bucket_and_topic_the_server_needs_no_cloud_and_refuses_events(tmp_path, model, monkeypatch):
    for name in ("STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "OUTPUT_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    with ServerProcess({"HTTP_CUT": "true", "MODEL": model}, log=tmp_path / "server.log") as server:
        answer = requests.post(f"{server.url}/cut", data=photo(), timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert requests.post(f"{server.url}/", data=photo(), timeout=60).status_code == 503
        assert requests.post(f"{server.url}/dead-letter", json={}, timeout=60).status_code == 503


def test_events_and_calls_share_the_slots_and_the_last_caller_is_told_to_come_back(tmp_path, model):
    with running(tmp_path / "server.log", model, HTTP_CUT="true", CONCURRENCY="1") as service:
        gate = service.cloud.store.hold("download", "slow.jpg")
        service.upload("slow.jpg", photo())
        gate.wait_for_arrival()
        answer = cut(service)
        assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (429, "busy", "10")
        gate.open()
        assert service.outcome("slow.jpg")["status"] == "completed"
        service.settled()
        assert cut(service).status_code == 200
        said = [line for line in service.log() if line.get("source") == "POST /cut"]
        assert [(line["status"], line["code"], line["http_status"]) for line in said] == [
            ("retry", "busy", 429),
            ("completed", "", 200),
        ]
        assert (said[1]["width"], said[1]["height"], said[1]["bytes"]) == (96, 64, len(photo()))


def test_many_callers_at_once_get_their_own_images(direct):
    pictures = [photo(96 + 8 * number, 64, seed=number) for number in range(4)] * 3

    def call(data: bytes) -> bytes:
        while (answer := cut(direct, data)).status_code == 429:
            pass
        return answer.content

    alone = [call(data) for data in pictures[:4]]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(call, pictures)) == alone * 3


def test_schemathesis_finds_no_call_that_is_not_answered_as_the_description_says(direct, tmp_path):
    (tmp_path / "schemathesis.toml").write_text(
        # 4xx: contradictions between options, or between options and file, which no schema says
        'hooks = "tests.schemathesis_files"\n[checks.positive_data_acceptance]\n'
        'expected-statuses = ["2xx", "400", "413", "415", "422", "429"]\n'
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", tmp_path / "schemathesis.toml", "run"]
    limits = ["--max-examples", "40", "--seed", "1", "--generation-database", "none", "--no-color"]
    done = subprocess.run(
        [*command, *limits, f"{direct.server.url}/openapi.json"],
        cwd=ROOT, env=os.environ | {"NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


# Without a server


class Instance:
    """The endpoint of one instance with a cutter without a network; `ended` counts how often its process was to end."""

    def __init__(self) -> None:
        self.cutter, self.ended = Bright(), 0
        settings = Settings(output_bucket="cutouts", completion_topic="projects/p/topics/t", review_below=0.95)
        maker = ResultMaker(self.cutter, settings)
        self.endpoint = HttpCut(maker, Admission(1), settings, project="", end_process=self.end)

    def end(self) -> None:
        self.ended += 1

    def answer(self) -> Response:
        with flask.Flask("test").test_request_context("/cut", method="POST", data=photo()):
            return self.endpoint.answer()


def failing(error: Exception):
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "word", "ended"),
    [
        (ZeroDivisionError("a secret of ours"), 500, "internal_error", 0),
        (errors.GpuUnavailable("the driver has gone"), 503, "gpu_unavailable", 1),
        (errors.OutOfGpuMemory("It does not fit."), 503, "out_of_gpu_memory", 0),
        (errors.NetworkFailed("No numbers."), 422, "network_failed", 0),
        (errors.ShuttingDown("This instance is stopping."), 503, "shutting_down", 0),
    ],
)
def test_what_goes_wrong_inside_is_a_problem_too_and_keeps_its_secrets(caplog, error, status, word, ended):
    instance = Instance()
    instance.cutter.meanwhile = failing(error)
    answer = instance.answer()
    told = json.loads(answer.get_data())
    assert (answer.status_code, told["code"], instance.ended) == (status, word, ended)
    assert "secret" not in answer.get_data(as_text=True)
    assert caplog.records[-1].fields["status"] == {422: "failed", 500: "crash", 503: "retry"}[status]
    assert instance.answer().status_code == 200  # the slot is free again


def test_a_result_of_little_confidence_is_marked_for_review():
    instance = Instance()
    assert instance.answer().headers["cutdrop-review"] == "true"
    instance.cutter.confidence = 0.99
    assert instance.answer().headers["cutdrop-review"] == "false"


def test_the_description_has_every_code_that_is_not_about_buckets_and_topics():
    of_buckets = {
        "source_gone",
        "superseded",
        "output_name_taken",
        "source_unreadable",
        "output_refused",
        "is_a_result",
    }
    of_events = {"gave_up", "storage_unavailable", "publisher_unavailable"}
    document = openapi.document(CutOptions(), LIMIT)
    described = set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    assert {*errors.FAILURE_CODES, *errors.RETRY_CODES} - described == of_buckets | of_events
    parameters = document["paths"]["/cut"]["post"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == list(PARSERS)
