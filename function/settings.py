"""Every setting of the service: read once from the environment, checked together, never changed afterwards.

`python -m function.settings` prints them as a Markdown table.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

from shared.errors import InvalidOptions, SettingsError
from shared.options import DOCS, PARSERS, CutOptions
from shared.outputs import parse_outputs
from shared.parsers import boolean, integer, number

MIB = 1024 * 1024

# The earlier system's names, and what to say to those who still set them.
RENAMED: Mapping[str, str] = {
    "ENABLE_ESRGAN_PREPROCESSING": "is now ESRGAN_STAGE (after = enlarge the cutout, before = what it did)",
    "BIREFNET_MAX_DIMENSION": "is now BIREFNET_SIZE (the network's own size; results keep the upload's size)",
    "alpha_matting": "is now ALPHA_MATTING (off | guided | vitmatte)",
}
OUR_PREFIXES = ("BIREFNET_", "ESRGAN_", "MASK_", "ALPHA_MATTING_", "CUTDROP_")
TOPIC = re.compile(r"projects/[^/\s]+/topics/[A-Za-z][\w.~+%-]{2,254}")
REQUIRED = ("output_bucket", "completion_topic")  # unless there are only calls of POST /cut
TOPIC_ID = re.compile(r"[A-Za-z][\w.~+%-]{2,254}")


def _text(text: str) -> str:
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text.lower()

    return parse


def _network_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from '1024' or '2560x1440'."""
    match = re.fullmatch(r"([0-9]{2,4})(?:\s*[xX]\s*([0-9]{2,4}))?", text)
    if not match:
        raise ValueError("is not a size in pixels such as 1024 or 2560x1440")
    width, height = int(match[1]), int(match[2] or match[1])
    if width % 32 or height % 32 or min(width, height) < 64 or max(width, height) > 4096:
        raise ValueError("is not made of multiples of 32 between 64 and 4096")
    return (width, height)


def _bucket(text: str) -> str:
    if "/" in text or ":" in text:
        raise ValueError("is not a bucket's plain name (no gs://, no path)")
    return text


def _prefix(text: str) -> str:
    if len(text.encode()) > 256:
        raise ValueError("is longer than 256 bytes")
    return text


def _topic(text: str) -> str:
    if not (TOPIC.fullmatch(text) or TOPIC_ID.fullmatch(text)):
        raise ValueError("is not projects/PROJECT/topics/TOPIC nor a topic's name")
    return text


def _setting(parse: Callable[[str], object], doc: str, *, default: object = MISSING, unit: str = "") -> Any:
    return field(default=default, metadata={"parse": parse, "doc": doc, "unit": unit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service's configuration. `options` are the defaults of what each upload may choose for itself."""

    output_bucket: str = _setting(_bucket, "bucket that receives the results")
    completion_topic: str = _setting(
        _topic,
        "topic that receives the messages: projects/PROJECT/topics/TOPIC, or TOPIC with GOOGLE_CLOUD_PROJECT set",
    )
    upload_buckets: tuple[str, ...] = _setting(
        _names, "buckets whose uploads are processed, comma-separated; empty = any but OUTPUT_BUCKET", default=()
    )
    upload_prefix: str = _setting(_text, "only names that begin with this are processed", default="")
    output_prefix: str = _setting(_prefix, "put in front of every result's name", default="")
    model: str = _setting(
        _text, "embedded (demo) | a Hugging Face id | a folder", default="ZhengPeng7/BiRefNet-portrait"
    )
    model_revision: str = _setting(
        _text,
        "commit of the Hugging Face repository; empty = the pinned one if the model is a known one",
        default="",
    )
    model_folder: str = _setting(
        _text, "folder where checkpoints are looked for and kept; empty = the cache", default=""
    )
    device: str = _setting(_choice("auto", "cuda", "cpu"), "auto | cuda | cpu", default="auto")
    require_gpu: bool = _setting(boolean, "refuse to start without a GPU that runs kernels", default=False)
    dtype: str = _setting(
        _choice("auto", "float32", "float16", "bfloat16"),
        "auto | float32 | float16 | bfloat16: numbers of the network; auto = float16 on a GPU, float32 on a CPU",
        default="auto",
    )
    birefnet_size: tuple[int, int] | None = _setting(
        _network_size,
        "input of the network, N or WxH, multiples of 32; empty = the checkpoint's own",
        default=None,
        unit="px",
    )
    patch_order: str = _setting(
        _choice("auto", "current", "legacy"),
        "auto | current | legacy: order of the decoder's image tiles that the checkpoint was trained with",
        default="auto",
    )
    vitmatte_model: str = _setting(
        _text,
        "a Hugging Face id | a folder: the second network of ALPHA_MATTING=vitmatte",
        default="hustvl/vitmatte-small-composition-1k",
    )
    vitmatte_revision: str = _setting(
        _text, "commit of its Hugging Face repository; empty = the pinned one of the default", default=""
    )
    esrgan_model: str = _setting(_text, "name or path of the Real-ESRGAN checkpoint", default="RealESRGAN_x2plus.pth")
    esrgan_max_side: int = _setting(
        integer(64, 20_000), "images with a longer side are not enlarged", default=3000, unit="px"
    )
    max_upload_bytes: int = _setting(
        integer(1, 2_000_000_000), "larger uploads are rejected", default=100 * MIB, unit="bytes"
    )
    max_pixels: int = _setting(
        integer(1, 500_000_000), "images of more pixels are rejected", default=50_000_000, unit="pixels"
    )
    decode_processes: int | None = _setting(
        integer(0, 64),
        "processes that decode uploads; empty = one per CPU, at most CONCURRENCY; 0 = inside the server, for debugging",
        default=None,
    )
    decode_timeout_s: int = _setting(
        integer(1, 300), "an upload whose decoding takes longer is rejected", default=20, unit="s"
    )
    max_batch: int = _setting(integer(1, 64), "images that go through the network together", default=4, unit="images")
    max_batch_wait_ms: int = _setting(
        integer(0, 1000), "longest time that the first image of a batch waits for others", default=10, unit="ms"
    )
    max_queue: int = _setting(
        integer(1, 1000), "images that wait for the network; more are answered 429", default=16, unit="images"
    )
    concurrency: int = _setting(integer(1, 250), "uploads processed at a time", default=12, unit="threads")
    request_budget_s: int = _setting(
        integer(1, 540),
        "an upload that has not reached the network by then is delivered again; less than the service's timeout",
        default=300,
        unit="s",
    )
    outputs: str = _setting(
        _text,
        "further outputs of each upload: `preview: size=512x512 format=webp; mask: channels=alpha`",
        default="",
    )
    review_below: float = _setting(
        number(0, 1), "a result of less confidence gets the attribute review=true; 0 = none does", default=0.5
    )
    http_cut: bool = _setting(
        boolean, "answer POST /cut too: one image in, its cutout out, without bucket and message", default=False
    )
    log_level: str = _setting(
        _choice("debug", "info", "warning", "error"), "debug | info | warning | error", default="info"
    )
    options: CutOptions = field(default_factory=CutOptions)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Settings from environment variables; an empty one counts as absent. SettingsError lists every problem."""
        given = {name: text.strip() for name, text in environ.items() if text.strip()}
        problems = _left_over(given)
        values = {item.name: _read(item.name.upper(), item, given, problems) for item in _fields()}
        without_buckets = values["http_cut"] is True and not (values["output_bucket"] or values["completion_topic"])
        problems[:0] = [f"{name.upper()} is missing" for name in REQUIRED if values[name] == "" and not without_buckets]
        values["options"] = _read_options(given, problems)
        try:
            parse_outputs(str(values["outputs"]), values["options"])
        except InvalidOptions as error:
            problems.append(f"OUTPUTS={values['outputs']!r}: {error}")
        values["completion_topic"] = _full_topic(values["completion_topic"], given, problems)
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**values)

    @property
    def has_buckets(self) -> bool:
        """Whether this service takes uploads from buckets at all; without, it only answers POST /cut."""
        return bool(self.output_bucket)

    def takes_uploads_from(self, bucket: str) -> bool:
        """Whether objects of this bucket are uploads."""
        return bucket in self.upload_buckets if self.upload_buckets else bucket != self.output_bucket

    def pixel_settings(self) -> dict[str, str]:
        """{name: text} of what changes results besides the options and the weights; part of each result's key."""
        names = ("birefnet_size", "patch_order", "dtype", "esrgan_max_side")
        return {name: str(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One environment variable, for documentation and for checks of what a deployment sets."""

    name: str
    default: str  # as it would be written in the environment; empty = unset
    unit: str
    doc: str
    required: bool


def table() -> list[Setting]:
    """Every environment variable that the service reads for itself, in order of use."""
    service = [
        Setting(
            name=item.name.upper(),
            default="" if item.default is MISSING else _as_text(item.default),
            unit=item.metadata["unit"],
            doc=item.metadata["doc"],
            required=item.default is MISSING,
        )
        for item in _fields()
    ]
    defaults = CutOptions().as_texts()
    pixels = [
        Setting(name=name.upper(), default=defaults[name], unit="", doc=doc, required=False)
        for name, doc in DOCS.items()
    ]
    return service + pixels


def markdown() -> str:
    """The table for people."""
    rows = [
        f"| `{s.name}` | {'**required**' if s.required else f'`{s.default}`' if s.default else ''} | {s.unit} | "
        + s.doc.replace("|", "\\|")
        + " |"
        for s in table()
    ]
    return "\n".join(["| setting | default | unit | meaning |", "|---|---|---|---|", *rows])


def _fields() -> list[Any]:
    return [item for item in fields(Settings) if item.name != "options"]


def _read(name: str, item: Any, given: Mapping[str, str], problems: list[str]) -> Any:
    if name not in given:
        return "" if item.default is MISSING else item.default
    try:
        return item.metadata["parse"](given[name])
    except ValueError as error:
        problems.append(f"{name}={given[name]!r} {error}")


def _read_options(given: Mapping[str, str], problems: list[str]) -> CutOptions:
    values: dict[str, Any] = {}
    for name, parse in PARSERS.items():
        text = given.get(name.upper())
        try:
            values |= {} if text is None else {name: parse(text)}
        except ValueError as error:
            problems.append(f"{name.upper()}={text!r} {error}")
    try:
        return CutOptions(**values)
    except InvalidOptions as error:
        problems.append(str(error))
        return CutOptions()


def _full_topic(topic: Any, given: Mapping[str, str], problems: list[str]) -> Any:
    if not topic or topic.startswith("projects/"):
        return topic
    if "GOOGLE_CLOUD_PROJECT" not in given:
        problems.append(f"COMPLETION_TOPIC={topic!r} is a bare name: GOOGLE_CLOUD_PROJECT is missing")
    return f"projects/{given.get('GOOGLE_CLOUD_PROJECT')}/topics/{topic}"


def _left_over(given: Mapping[str, str]) -> list[str]:
    """Names that were surely meant for us and that nothing would read: a silent typo costs a night."""
    known = {item.name.upper() for item in _fields()} | {name.upper() for name in PARSERS}
    problems = []
    for name in sorted(given):
        if name in RENAMED:
            problems.append(f"{name} {RENAMED[name]}")
        elif name not in known and name.startswith(OUR_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"{name} is not a setting" + (f", {near[0]} is" if near else ""))
    return problems


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else ",".join(value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    print(markdown())
