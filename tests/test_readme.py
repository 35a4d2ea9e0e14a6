"""The README and the other pages say what is so: every command, path, link, code, field and setting in them exists."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from function.plan import plan_for
from function.settings import Settings
from shared import errors, options
from shared.messages import serialise
from shared.records import Upload
from shared.subscriber.messages import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = ("function", "shared", "tests", "infra")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *(page for folder in SOURCES for page in (ROOT / folder).rglob("README.md"))]
}
TOP = {path.name for path in ROOT.iterdir()}
SUFFIXES = (".py", ".toml", ".tf", ".avsc", ".sh", ".txt", ".yaml", ".lock")


def block(name: str) -> str:
    """What stands between a pair of marks."""
    found = re.search(rf"<!-- {name}[^>]*-->\n(.*?)\n<!-- end of {name} -->", README, re.DOTALL)
    assert found, f"no block {name}"
    return found[1].strip()


def code(language: str) -> str:
    """The README's first block of code in this language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"no {language}"
    return found[1]


def test_the_settings_are_those_that_the_service_has() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "function.settings"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert block("settings") == printed.strip()


def test_every_option_is_explained() -> None:
    assert options.PARSERS
    for name in options.PARSERS:
        assert f"`{name.upper()}`" in README, name


def test_the_table_of_failure_codes_has_each_final_code_once_and_no_other() -> None:
    table = README[README.index("| code | meaning") :]
    rows = re.findall(r"^\| `(\w+)` \|", table[: table.index("\n\n")], re.MULTILINE)
    assert sorted(rows) == sorted(errors.FAILURE_CODES)


def test_every_code_after_which_an_event_is_delivered_again_is_named_with_its_status() -> None:
    below = README[README.index("Errors that may pass") :]
    assert set(re.findall(r"`(\w+)`", below[: below.index("delivers the event again")])) == set(errors.RETRY_CODES)
    busy = [error.code for error in errors.RetryLater.__subclasses__() if error.status == 429]
    assert re.findall(r"`(\w+)` answers 429", below) == busy


def test_the_message_is_one_that_a_subscriber_could_get_with_every_field_and_no_other() -> None:
    data = json.loads(code("json"))
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": data["key"],
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{data['source']['bucket']}",
        "ce-type": f"dev.cutdrop.image.{data['status']}.v1",
        "ce-subject": f"objects/{data['source']['name']}",
        "ce-time": "2026-11-22T12:00:00Z",
        "content-type": "application/json",
        "status": data["status"],
        "review": "false",
    }
    published, told = serialise(parse(json.dumps(data).encode(), attributes))
    assert told == attributes
    assert json.loads(published) == data
    assert list(json.loads(published)) == list(data)
    assert set(data["options"]) == set(options.PARSERS)


def test_the_options_of_the_example_of_an_upload_are_taken() -> None:
    given = re.search(r"--custom-metadata=(\S+)", README)
    assert given
    metadata = dict(pair.split("=", 1) for pair in given[1].split(","))
    upload = Upload(bucket="uploads", name="shoe.jpg", generation=1, metadata=metadata)
    settings = Settings(output_bucket="cutouts", completion_topic="projects/p/topics/done")
    wanted = plan_for(upload, settings, lambda _: "").options
    assert (wanted.crop, wanted.crop_margin.percent, wanted.bg_color) == (True, True, "#ffffff")


def test_the_python_example_cuts_an_image(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "data" / "samples" / "car.jpg", tmp_path / "photo.jpg")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code("python")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"the subject covers [1-9]\d% of the cutout\n", done.stdout)
    assert (tmp_path / "cutout.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_every_module_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", PAGES[page], re.MULTILINE)) <= targets
    for module in set(re.findall(r"(?:python -m |`)((?:tests|function|shared)(?:\.\w+)+)", PAGES[page])):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() or path.is_dir(), module


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_of_a_command_is_one_that_its_module_takes(page: str) -> None:
    for module, arguments in re.findall(r"python -m ((?:tests|function|shared)[\w.]*)([^\n`]*)", PAGES[page]):
        path = ROOT / module.replace(".", "/")
        sources = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
        text = "".join(source.read_text(encoding="utf-8") for source in sources)
        for flag in re.findall(r"--([a-z][a-z-]*)", arguments):
            written = (f'"--{flag}"', f'("{flag}", ', f"{flag.replace('-', '_')}: ")  # the last: one for each field
            assert any(form in text for form in written), (module, flag)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    folder = (ROOT / page).parent
    for name in set(re.findall(r"`([\w.*-][\w./*-]*)(?:::\w+)?`", PAGES[page])):
        if name.partition("/")[0] in TOP - {"out"} and "/" in name:
            assert (ROOT / name).exists() or (folder / name).exists(), name
        elif name.endswith(SUFFIXES):
            assert any(folder.rglob(name.rpartition("/")[2])) or (ROOT / name).exists(), name
    for test in re.findall(r"tests/test_\w+\.py::(\w+)", PAGES[page]):
        assert any(f"def {test}(" in path.read_text() for path in (ROOT / "tests").glob("test_*.py")), test


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", PAGES[page])
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", PAGES[page], re.MULTILINE)
    }
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert ((ROOT / page).parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_every_output_of_terraform_that_a_command_asks_for_exists(page: str) -> None:
    outputs = set(re.findall(r'^output "(\w+)"', (ROOT / "infra" / "outputs.tf").read_text(), re.MULTILINE))
    assert outputs
    assert set(re.findall(r"output -raw (\w+)", PAGES[page])) <= outputs


def test_the_stops_of_an_upload_exist_and_none_is_visited_twice() -> None:
    stops = re.findall(r"^\d+\. `([\w/]+)\.py`: `([\w.]+)`$", PAGES["CONTRIBUTING.md"], re.MULTILINE)
    assert 12 <= len(stops) <= 18
    assert len(set(stops)) == len(stops)
    for file, name in stops:
        found: ast.AST = ast.parse((ROOT / f"{file}.py").read_text())
        for part in name.split("."):
            found = next(node for node in ast.iter_child_nodes(found) if getattr(node, "name", "") == part)


def test_every_module_is_on_the_map() -> None:
    pages = PAGES["CONTRIBUTING.md"] + PAGES["shared/README.md"]
    for folder in ("function", "shared"):
        for path in (ROOT / folder).glob("*.py"):
            assert path.name in pages or path.name == "__init__.py", path


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page: str) -> None:
    assert "@@" not in PAGES[page]
    assert "TODO" not in PAGES[page]
