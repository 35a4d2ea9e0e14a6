"""The page's HTTP interface; every path begins with the token of this start.

GET  .                        the page; GET static/FILE its parts
GET  about                    the service, its options and limits, models and samples
GET  events                   server-sent events: all, picture, cut, removed
POST pictures?name=NAME       a file's bytes; DELETE pictures/ID
GET  samples/NAME             a sample; POST adds it
POST options                  {options: {name: text}, file, model}: checked, and as command lines
POST cuts                     {picture, variants: [{model, options, label}]}: queued
GET  pictures/ID/before       the upload as PNG; pictures/ID/thumbnail the same, small
GET  cuts/ID/view             the result as the browser shows it; cuts/ID/outputs/N the N-th file itself
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from flask import Blueprint, Flask, Response, abort, jsonify, request, send_file
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from function.local.page import form, guard
from function.local.page.gallery import Cut, Gallery, Removed, State, Variant
from function.local.page.views import Views, zipped_result
from function.settings import Settings
from shared.errors import RejectedUpload, UploadTooLarge

STATIC = Path(__file__).with_name("static")
SAMPLES = Path(__file__).parents[1] / "samples"
MOST_VARIANTS = 4
LARGEST_JSON = 1 << 20  # bytes
LONGEST_NAME = 160  # characters of a picture's name
BEAT_S = 15.0  # a comment keeps the event stream open
PNG = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConfig:
    """What the page offers.

    options: {name: text} that the form starts with. models: the first one is the default.
    absent: (option, value) -> why it cannot be asked for.
    """

    settings: Settings
    options: Mapping[str, str]
    models: Sequence[str]
    absent: form.Absent


def create_app(config: PageConfig, gallery: Gallery, views: Views, folder: Path, *, token: str) -> Flask:
    """folder: takes the files of pictures. app.config["PAGE_PORT"] must be set before the first request."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.settings.max_upload_bytes
    guard.protect(app, token=token)
    page = Blueprint("page", __name__, url_prefix=f"/{token}", static_folder=str(STATIC), static_url_path="/static")
    _add_page(page, config)
    _add_pictures(page, gallery, views, folder)
    _add_cuts(page, config, gallery)
    _add_errors(app, config.settings)
    app.register_blueprint(page)
    return app


def _add_page(page: Blueprint, config: PageConfig) -> None:
    settings = config.settings

    @page.get("/")
    def index() -> Response:
        return send_file(STATIC / "index.html")

    @page.get("/about")
    def about() -> Response:
        return jsonify(
            models=list(config.models),
            options=form.describe(settings, config.absent),
            start=dict(config.options),
            most_bytes=settings.max_upload_bytes,
            most_variants=MOST_VARIANTS,
            review_below=settings.review_below,
            samples=sorted(path.name for path in SAMPLES.glob("*.jpg")),
        )

    @page.post("/options")
    def options() -> Response:
        asked = _json()
        checked = form.check(_texts(asked.get("options")), settings, config.absent)
        file, model = str(asked.get("file") or "PICTURE"), str(asked.get("model") or config.models[0])
        return jsonify({**checked, "commands": form.command_lines(checked["changed"], file=file, model=model)})


def _add_pictures(page: Blueprint, gallery: Gallery, views: Views, folder: Path) -> None:
    @page.get("/events")
    def events() -> Response:
        return Response(_stream(gallery), content_type="text/event-stream")

    @page.post("/pictures")
    def add() -> tuple[Response, int]:
        file = folder / uuid.uuid4().hex
        with file.open("wb") as taken:
            while block := request.stream.read(1 << 20):
                taken.write(block)
        name, ref = clean_name(request.args.get("name", "")), request.args.get("ref", "")
        return jsonify(gallery.add(name, file, ref).as_json()), 201

    @page.get("/samples/<name>")
    def sample(name: str) -> Response:
        return _kept(send_file(_sample(name)))

    @page.post("/samples/<name>")
    def add_sample(name: str) -> tuple[Response, int]:
        file = folder / uuid.uuid4().hex
        file.write_bytes(_sample(name).read_bytes())
        return jsonify(gallery.add(name, file).as_json()), 201

    @page.delete("/pictures/<picture>")
    def remove(picture: str) -> tuple[str, int]:
        gone, cuts = gallery.remove(picture)
        for file in (gone.file, *(result for cut in cuts for result in cut.results)):
            if file.is_relative_to(folder):
                file.unlink(missing_ok=True)
        return "", 204

    @page.get("/pictures/<picture>/before")
    def before(picture: str) -> Response:
        return _kept(Response(views.upload(gallery.picture(picture).file), content_type=PNG))

    @page.get("/pictures/<picture>/thumbnail")
    def thumbnail(picture: str) -> Response:
        return _kept(Response(views.thumbnail(gallery.picture(picture).file), content_type=PNG))


def _add_cuts(page: Blueprint, config: PageConfig, gallery: Gallery) -> None:
    @page.post("/cuts")
    def order() -> tuple[Response, int]:
        asked = _json()
        wanted = asked.get("variants")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_VARIANTS:
            abort(400, f"A picture is cut in 1 to {MOST_VARIANTS} variants at a time.")
        group = uuid.uuid4().hex[:8] if len(wanted) > 1 else ""
        variants = [_variant(one, config, group) for one in wanted]
        return jsonify([cut.as_json() for cut in gallery.order(str(asked.get("picture")), variants)]), 201

    @page.get("/cuts/<cut>/view")
    def view(cut: str) -> Response:
        result = _completed(gallery.cut(cut)).results[0]
        if result.suffix == ".zip":
            return _kept(Response(zipped_result(result), content_type=PNG))
        return _kept(send_file(result))

    @page.get("/cuts/<cut>/outputs/<int:number>")
    def output(cut: str, number: int) -> Response:
        found = _completed(gallery.cut(cut))
        if number >= len(found.results):
            abort(404, "There is no such output.")
        name = Path(found.message["outputs"][number]["name"]).name
        return send_file(found.results[number], as_attachment=True, download_name=name)


def _add_errors(app: Flask, settings: Settings) -> None:
    @app.errorhandler(RejectedUpload)
    def rejected(error: RejectedUpload) -> tuple[Response, int]:
        return jsonify(code=error.code, reason=str(error)), 422

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        reason = f"The file has more than {settings.max_upload_bytes} bytes, the most that the service takes."
        return jsonify(code=UploadTooLarge.code, reason=reason), 413

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response, int]:
        return jsonify(code="", reason=error.description), error.code or 500

    @app.errorhandler(Removed)
    def removed(_: Removed) -> tuple[Response, int]:
        return jsonify(code="", reason="It was removed."), 404


def clean_name(name: str) -> str:
    """A picture's name for its object: the last part of a path, without control characters, of bounded length."""
    plain = "".join(sign for sign in name.replace("\\", "/").rpartition("/")[2] if sign.isprintable()).strip()
    stem, dot, ending = plain.rpartition(".")
    if len(plain) > LONGEST_NAME:
        plain = (stem or ending)[: LONGEST_NAME - len(ending) - 1] + dot + ending[:20] if dot else plain[:LONGEST_NAME]
    return plain if plain.strip(".") else "picture"


def _sample(name: str) -> Path:
    sample = next((path for path in SAMPLES.glob("*.jpg") if path.name == name), None)
    if sample is None:
        abort(404, f"There is no sample {name}.")
    return sample


def _stream(gallery: Gallery) -> Iterator[str]:
    with gallery.following() as events:
        while True:
            try:
                event = events.get(timeout=BEAT_S)
            except Empty:
                yield ":\n\n"
                continue
            if event is None:
                return
            yield f"event: {event[0]}\ndata: {json.dumps(event[1])}\n\n"


def _json() -> dict[str, Any]:
    request.max_content_length = LARGEST_JSON
    asked = request.get_json(silent=True)
    if not isinstance(asked, dict):
        abort(400, "This is no JSON object.")
    return asked


def _texts(options: object) -> dict[str, str]:
    if options is None:
        return {}
    if not isinstance(options, dict) or not all(isinstance(text, str) for text in options.values()):
        abort(400, "Options are texts by name.")
    return options


def _variant(asked: object, config: PageConfig, group: str) -> Variant:
    """Answers 422 with a sentence if the service would refuse the options."""
    if not isinstance(asked, dict):
        abort(400, "A variant is an object.")
    model = str(asked.get("model") or config.models[0])
    if model not in config.models:
        abort(422, f"The model {model} is not at hand.")
    checked = form.check(_texts(asked.get("options")), config.settings, config.absent)
    problems = [f"{name}: {sentence}" for name, sentence in checked["problems"].items()]
    if problems or checked["problem"]:
        abort(422, "; ".join(problems) or checked["problem"])
    return Variant(model=model, options=checked["changed"], label=str(asked.get("label") or "")[:120], group=group)


def _completed(cut: Cut) -> Cut:
    if cut.state is not State.COMPLETED:
        abort(404, "This cut has no result.")
    return cut


def _kept(response: Response) -> Response:
    """Its address never gets other bytes."""
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response
