"""Log lines as Cloud Logging reads them."""

import io
import json
import logging

import pytest

from function import logs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
W3C = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture
def log():
    """Where the process writes its log meanwhile."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("INFO", stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


def last_line(log):
    return json.loads(log.getvalue().splitlines()[-1])


def test_a_line_is_one_json_object_with_severity_message_and_fields(log):
    logging.getLogger("cutdrop").info("done\nand said", extra={"fields": {"key": "ä", "bytes": 3}})
    assert last_line(log) == {
        "severity": "INFO",
        "message": "done\nand said",
        "logger": "cutdrop",
        "key": "ä",
        "bytes": 3,
    }


def test_an_exception_carries_its_traceback_in_the_same_line(log):
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("cutdrop").exception("it broke")
    written = last_line(log)
    assert written["severity"] == "ERROR"
    assert "KeyError: 'lost'" in written["stack_trace"]


def test_lines_within_a_request_name_its_trace_and_lines_after_it_do_not(log):
    with logs.traced(W3C, "shop"):
        logging.getLogger("shared.cutter").info("inside")
    assert last_line(log)["logging.googleapis.com/trace"] == f"projects/shop/traces/{TRACE}"
    logging.getLogger("shared.cutter").info("outside")
    assert "logging.googleapis.com/trace" not in last_line(log)


def test_libraries_are_heard_from_warnings_upwards(log):
    logging.getLogger("urllib3").info("connection number 7")
    assert log.getvalue() == ""
    logging.getLogger("urllib3").warning("pool is full")
    assert last_line(log)["severity"] == "WARNING"


@pytest.mark.parametrize(
    ("headers", "span", "sampled"),
    [
        (W3C, "00f067aa0ba902b7", True),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}, "00f067aa0ba902b7", False),
        ({"X-Cloud-Trace-Context": f"{TRACE}/255;o=1"}, "00000000000000ff", True),
        ({"X-Cloud-Trace-Context": TRACE}, "0000000000000000", False),
    ],
)
def test_both_trace_headers_give_the_same_fields(headers, span, sampled):
    assert logs.trace_fields(headers, "shop") == {
        "logging.googleapis.com/trace": f"projects/shop/traces/{TRACE}",
        "logging.googleapis.com/spanId": span,
        "logging.googleapis.com/trace_sampled": sampled,
    }


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{TRACE}", f"00-{TRACE[:-1]}x-00f067aa0ba902b7-01"])
def test_a_malformed_trace_header_is_no_trace(header):
    assert logs.trace_fields({"traceparent": header}, "shop") == {}


def test_without_a_project_there_is_no_trace():
    assert logs.trace_fields(W3C, "") == {}
