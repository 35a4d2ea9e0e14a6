"""Bodies that schemathesis sends to POST /cut: pictures, damaged pictures, and what is none."""

import schemathesis
from hypothesis import strategies as st

from tests.conftest import photo

FILES = [photo(), photo(kind="PNG"), photo(64, 96, seed=2, kind="WEBP"), photo()[:-200], b"", b"not an image"]

schemathesis.openapi.media_type("application/octet-stream", st.sampled_from(FILES))
