"""The page's HTTP interface: pictures through the service, the form, and who may talk to it."""

import io
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import requests
from PIL import Image

from function.local.page import form
from function.local.page.app import STATIC, clean_name
from function.local.run.checks import check_settings
from function.local.run.command import main
from function.plan import asked_outputs
from shared.options import CutOptions
from tests.conftest import photo
from tests.paging import Paging, paging

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = check_settings([], [], {}).settings


@pytest.fixture(scope="module")
def page(model) -> Iterator[Paging]:
    with paging(MODEL=model, MAX_UPLOAD_BYTES="1000000", CONCURRENCY="1") as page:
        yield page


def picture_of(response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def test_a_picture_goes_through_the_service_and_its_result_comes_back(page):
    cut = page.cut(page.add("shoes/disc.jpg", photo(64, 48)))[0]
    assert (cut["state"], cut["message"]["status"]) == ("completed", "completed")
    assert cut["message"]["source"]["name"] == f"{cut['id']}/disc.jpg"
    assert cut["attributes"]["ce-type"] == "dev.cutdrop.image.completed.v1"
    assert cut["message"]["timings_ms"]["segment"] > 0
    assert picture_of(page.get(f"cuts/{cut['id']}/view")).size == (64, 48)
    file = page.get(f"cuts/{cut['id']}/outputs/0")
    assert file.headers["Content-Disposition"] == "attachment; filename=disc.png"
    assert len(file.content) == cut["message"]["outputs"][0]["bytes"]


def test_nothing_of_an_upload_stays_in_the_store(page):
    page.cut(page.add("gone.jpg", photo()))
    cloud = page.page.servers.running(page.get("about").json()["models"][0]).cloud
    for bucket in (cloud.upload_bucket, cloud.output_bucket):
        assert not [blob.name for blob in cloud.client().list_blobs(bucket) if "gone" in blob.name]


def test_options_change_the_result_and_several_outputs_are_offered(page):
    picture = page.add("disc.jpg", photo(64, 48))
    plain, asked = page.cut(picture, {}, {"size": "32x24", "format": "webp", "outputs": "mask: channels=alpha"})
    assert plain["options"] == {}
    assert asked["options"] == {"size": "32x24", "output_format": "webp", "outputs": "mask: channels=alpha"}
    assert asked["group"] == plain["group"] != ""
    assert picture_of(page.get(f"cuts/{asked['id']}/view")).size == (32, 24)
    mask = page.get(f"cuts/{asked['id']}/outputs/1")
    assert mask.headers["Content-Disposition"] == "attachment; filename=disc.mask.png"
    assert picture_of(mask).mode == "L"
    assert page.get(f"cuts/{asked['id']}/outputs/2").status_code == 404


def test_a_zip_is_shown_as_one_picture(page):
    picture = page.add("disc.jpg", photo(64, 48))
    cut = page.cut(picture, {"format": "zip"})[0]
    shown = picture_of(page.get(f"cuts/{cut['id']}/view"))
    assert (shown.mode, shown.size) == ("RGBA", (64, 48))


def test_the_upload_is_shown_upright_whatever_its_format(page):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.open(io.BytesIO(photo(400, 300))).save(stream, "TIFF", exif=exif)
    picture = page.add("turned.tif", stream.getvalue())
    assert picture_of(page.get(f"pictures/{picture}/before")).size == (300, 400)
    assert picture_of(page.get(f"pictures/{picture}/thumbnail")).size == (144, 192)


def test_a_file_that_is_no_image_has_its_code_and_its_sentence(page):
    picture = page.add("prices.csv", b"car,12\n")
    cut = page.cut(picture)[0]
    assert (cut["state"], cut["code"]) == ("failed", "unsupported_media")
    assert cut["reason"].endswith("is not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF image.")
    refused = page.get(f"pictures/{picture}/before")
    assert (refused.status_code, refused.json()["code"]) == (422, "unsupported_media")
    assert page.get(f"cuts/{cut['id']}/view").status_code == 404


def test_a_delivery_that_is_repeated_is_shown_as_a_retry_with_its_answer(page, model):
    gate = page.page.servers.running(model).cloud.store.hold("download", "*/first.jpg")
    first = page.order(page.add("first.jpg", photo()), {})[0]
    gate.wait_for_arrival()
    second = page.order(page.add("second.jpg", photo()), {})[0]  # finds the only thread taken
    refused = next(cut for cut in page.cuts() if cut["id"] == second and cut["retries"])
    gate.open()
    assert refused["state"] == "working"
    retry = refused["retries"][0]
    assert (retry["attempt"], retry["status"]) == (1, 429)
    assert retry["answer"].startswith("busy: ")
    assert "<" not in retry["answer"]
    assert [cut["state"] for cut in page.outcomes([first, second])] == ["completed", "completed"]


def test_a_server_that_ends_is_a_failure_with_a_sentence_and_the_next_cut_starts_another(page, model):
    service = page.page.servers.running(model)
    store = service.cloud.store
    gate = store.hold("download", "*/held.jpg")
    cut = page.order(page.add("held.jpg", photo()), {})[0]
    gate.wait_for_arrival()
    os.killpg(service.server.pid, signal.SIGKILL)
    ended = page.outcomes([cut])[0]
    gate.open()
    assert (ended["state"], ended["code"]) == ("failed", "")
    assert ended["reason"].startswith("The service failed: it ended with status")
    assert page.cut(page.add("after.jpg", photo()))[0]["state"] == "completed"


def test_cuts_beyond_those_in_work_are_queued_and_say_so(page):
    picture = page.add("many.jpg", photo(900, 700))
    cuts = page.order(picture, {}, {}, {}, {})
    states: dict[str, list[str]] = {cut: [] for cut in cuts}
    for cut in page.cuts():
        if cut["id"] in states:
            states[cut["id"]].append(cut["state"])
        if all(seen and seen[-1] == "completed" for seen in states.values()):
            break
    last = states[cuts[-1]]
    assert last[0] == "queued"
    assert list(dict.fromkeys(last)) == ["queued", "starting", "working", "completed"]


def test_another_model_gets_a_server_of_its_own(page, model):
    about = page.get("about").json()
    assert about["models"][:2] == [model, "embedded"]
    picture = page.add("disc.jpg", photo())
    asked = [{"model": "embedded"}, {"model": model}]
    cuts = page.post("cuts", json={"picture": picture, "variants": asked}).json()
    other, own = page.outcomes([cut["id"] for cut in cuts])
    assert (other["message"]["model"]["id"], own["message"]["model"]["id"]) == ("embedded", Path(model).name)


def test_a_removed_picture_is_forgotten_with_its_files(page):
    picture = page.add("disc.jpg", photo())
    cut = page.cut(picture)[0]
    files = [page.page.gallery.picture(picture).file, *page.page.gallery.cut(cut["id"]).results]
    assert all(file.exists() for file in files)
    assert page.session.delete(f"{page.url}pictures/{picture}", timeout=60).status_code == 204
    assert not any(file.exists() for file in files)
    assert page.get(f"cuts/{cut['id']}/view").status_code == 404
    assert page.post("cuts", json={"picture": picture, "variants": [{}]}).status_code == 404


def test_files_of_the_command_line_are_cut_at_once_with_its_options_and_never_deleted(model, tmp_path):
    file = tmp_path / "mine.jpg"
    file.write_bytes(photo())
    with paging(file, options={"format": "webp"}, MODEL=model) as page:
        name, everything = next(page.events())
        assert name == "all"
        cut = page.outcomes([everything["cuts"][0]["id"]])[0]
        assert cut["options"] == {"output_format": "webp"}
        assert page.get("about").json()["start"] == {"output_format": "webp"}
        page.session.delete(f"{page.url}pictures/{cut['picture']}", timeout=60)
    assert file.exists()


# ---- who may talk to the page


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "attacker.test:80"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_host_or_site_is_refused(page, headers):
    for answer in (page.get("about", headers=headers), page.post("pictures", headers=headers, data=photo())):
        assert answer.status_code == 403
        assert answer.json()["reason"].startswith("This page answers to its")


def test_the_printed_address_is_the_only_one(page):
    top = page.url.rsplit("/", 2)[0]
    for path in (
        "/",
        "/about",
        "/wrong/about",
        "/static/app.js",
        "//about",
        f"/{page.url.rsplit('/', 2)[1][:-1]}/about",
    ):
        assert page.session.get(top + path, timeout=60).status_code == 403, path
    assert page.get("about", headers={"Origin": top}).status_code == 200


def test_every_start_has_a_token_of_its_own_and_listens_on_loopback_alone(page, model):
    with paging(MODEL=model) as other:
        tokens = [one.url.rsplit("/", 2)[1] for one in (page, other)]
    assert tokens[0] != tokens[1]
    assert min(map(len, tokens)) >= 22  # 128 bits
    address = page.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(requests.ConnectionError):
        page.session.get(address, timeout=5)


def test_a_browser_is_told_to_load_nothing_from_elsewhere(page):
    headers = page.get("").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for file in STATIC.rglob("*"):
        addresses = re.findall(r"(?:https?:)?//[\w.]+", re.sub(r"(?m)^\s*//.*$", "", file.read_text()))
        assert set(addresses) <= {"http://www.w3.org"}, file  # the name of SVG, which nothing fetches


def test_a_file_above_the_services_limit_is_refused_with_its_code(page):
    refused = page.post("pictures", params={"name": "large.jpg"}, data=b"0" * 1_000_001)
    assert (refused.status_code, refused.json()["code"]) == (413, "upload_too_large")
    assert "1000000 bytes" in refused.json()["reason"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"variants": []}, 400),
        ({"variants": [{}] * 5}, 400),
        ({"variants": [{"options": {"crop": 1}}]}, 400),
        ({"variants": [{"options": {"crp": "true"}}]}, 422),
        ({"variants": [{"options": {"format": "jpg"}}]}, 422),
        ({"variants": [{"options": {"alpha_matting": "vitmatte"}}]}, 422),
        ({"variants": [{"model": "some/model"}]}, 422),
        ([], 400),
    ],
)
def test_what_the_service_would_refuse_is_refused_with_a_sentence(page, asked, status):
    picture = page.add("disc.jpg", photo())
    answer = page.post("cuts", json={"picture": picture, **asked} if asked else asked)
    assert answer.status_code == status
    assert len(answer.json()["reason"]) > 10


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("x/../../a.jpg", "a.jpg"),
        ("C:\\pictures\\a.jpg", "a.jpg"),
        ("a\n\x00.jpg", "a.jpg"),
        ("..", "picture"),
        ("", "picture"),
        ("ö" * 300 + ".jpeg", "ö" * 155 + ".jpeg"),
    ],
)
def test_a_name_becomes_one_part_of_an_objects_name(given, name):
    assert clean_name(given) == name


# ---- the form


def test_the_form_is_the_table_of_options():
    described = {option["name"]: option for option in form.describe(SETTINGS, {})}
    assert list(described) == [*(option.name for option in fields(CutOptions)), "outputs"]
    kernel, preset = described["mask_kernel"], described["mask_preset"]
    assert (kernel["kind"], kernel["low"], kernel["high"], kernel["step"]) == ("integer", 1, 31, 2)
    assert preset["choices"] == ("auto", "standard", "soft", "off")
    assert described["crop"]["kind"] == "boolean"
    assert (preset["part"], described["crop"]["part"]) == ("cut", "result")
    assert all(option["doc"] for option in described.values())


def test_the_form_starts_with_the_services_own_values():
    settings = check_settings([("MASK_CONTRAST", "7")], [], {}).settings
    described = {option["name"]: option for option in form.describe(settings, {})}
    assert described["mask_contrast"]["default"] == "7.0"
    assert form.check({"mask_contrast": "7"}, settings, {})["changed"] == {}
    assert form.check({"mask_contrast": "4"}, settings, {})["changed"] == {"mask_contrast": "4.0"}


def test_what_is_wrong_stands_at_its_option_or_below_all():
    checked = form.check({"mask_kernel": "4", "scale": "5%", "crop": "true"}, SETTINGS, {})
    assert set(checked["problems"]) == {"mask_kernel", "scale"}
    assert checked["problems"]["mask_kernel"] == "is not odd"
    together = form.check({"output_format": "jpg"}, SETTINGS, {})
    assert (together["problems"], together["changed"]) == ({}, {})
    assert "needs bg_color" in together["problem"]
    absent = form.check({"esrgan_stage": "after"}, SETTINGS, {("esrgan_stage", "after"): "needs a network"})
    assert absent["problems"] == {"esrgan_stage": "needs a network"}


CHANGED = {
    "mask_threshold": "0.3",
    "crop": "true",
    "crop_margin": "5% 3%",
    "bg_color": "#ffffff",
    "outputs": "small: size=64x64 bg_color=rgb(1,2,3) format=jpg; mask: channels=alpha",
}


@pytest.mark.parametrize("names", [(), ("crop",), ("crop", "crop_margin", "bg_color"), tuple(CHANGED)])
def test_the_command_lines_ask_for_the_same_options(names):
    changed = form.check({name: CHANGED[name] for name in names}, SETTINGS, {})["changed"]
    lines = form.command_lines(changed, file="my photo.jpg", model="embedded")
    cloud, local = shlex.split(lines["cloud"]), shlex.split(lines["local"])
    assert cloud[:5] == ["gcloud", "storage", "cp", "my photo.jpg", "gs://UPLOAD_BUCKET/"]
    metadata = metadata_of(cloud[5:])
    assert texts(asked_outputs(metadata, SETTINGS)) == texts(
        asked_outputs({f"cutdrop-{name}": text for name, text in changed.items()}, SETTINGS)
    )
    options = [pair.partition("=")[::2] for flag, pair in itertools.pairwise(local) if flag == "--option"]
    assert check_settings([], options, {}).metadata == {f"cutdrop-{name}": text for name, text in changed.items()}


def metadata_of(flags: list[str]) -> dict[str, str]:
    """As `gcloud topic escaping` describes it."""
    if not flags:
        return {}
    entries = flags[0].removeprefix("--custom-metadata=")
    escaped = re.match(r"\^(.)\^", entries)
    parts = entries[3:].split(escaped[1]) if escaped else entries.split(",")
    return dict(part.split("=", 1) for part in parts)


def texts(specs) -> dict[str, dict[str, str]]:
    return {spec.role: spec.options.as_texts() for spec in specs}


def test_the_local_command_names_a_model_other_than_its_default(page):
    answer = page.post("options", json={"options": {"crop": "true"}, "file": "a.jpg", "model": "some/model"}).json()
    assert answer["commands"]["local"] == "python -m function.local --set MODEL=some/model --option crop=true a.jpg"
    assert answer["changed"] == {"crop": "true"}


# ---- the command


def test_the_command_prints_an_address_that_works_until_it_is_interrupted(model):
    process = subprocess.Popen(
        [sys.executable, "-m", "function.local", "--page", "--set", f"MODEL={model}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())
        assert address
        assert requests.get(f"{address[0]}about", timeout=60).json()["models"][0] == model
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_flags_of_a_run_without_a_page_are_refused(capsys):
    assert main(["--page", "--outcomes", "o.jsonl"]) == 2
    assert main(["--page", "--serve"]) == 2
    assert main(["--page", "--set", "UPLOAD_PREFIX=x/"]) == 2
    assert capsys.readouterr().err.count("\n") == 3
