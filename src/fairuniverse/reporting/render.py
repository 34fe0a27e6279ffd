"""Charts to pictures: SVG inside a page, SVG and PNG files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairuniverse.errors import InvalidDataError, MissingDependencyError, StorageError
from fairuniverse.reporting.theme import CONFIG

_SVG = "http://www.w3.org/2000/svg"
ET.register_namespace("", _SVG)


def inline_svg(chart: Mapping[str, Any], *, prefix: str, label: str) -> str:
    """A chart as an SVG element to put into a page.

    Every mark gets its values as a title, which browsers show when the pointer rests on it.

    Args:
        chart: A Vega-Lite specification.
        prefix: Put before the element's ids, which must differ among the charts of a page.
        label: What the chart shows, for screen readers.
    """
    root = ET.fromstring(_converter().vegalite_to_svg({**chart, "config": CONFIG}))
    root.set("role", "img")
    root.set("aria-label", label)
    for element in root.iter():
        _prefix_ids(element, prefix)
        _add_title(element)
    return ET.tostring(root, encoding="unicode")


def save_chart(chart: Mapping[str, Any], path: str | Path, *, scale: float = 2.0) -> Path:
    """Write a chart to a picture file on white ground.

    Args:
        chart: A Vega-Lite specification.
        path: File to write, ``.svg`` or ``.png``.
        scale: Pixels per unit length, PNG only.

    Raises:
        InvalidDataError: The file name ends otherwise.
        StorageError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise InvalidDataError(f"{path.name}: a picture is .svg or .png")
    spec = {**chart, "config": {**CONFIG, "background": "white"}}
    convert = _converter()
    picture = (
        convert.vegalite_to_png(spec, scale=scale)
        if path.suffix == ".png"
        else convert.vegalite_to_svg(spec).encode()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    return path


def require_chart_libraries() -> None:
    """Check that the optional libraries are there.

    Raises:
        MissingDependencyError: One is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"reports need {error.name}: pip install 'fairuniverse[report]'"
        ) from error


def _converter() -> Any:
    import vl_convert

    return vl_convert


def _prefix_ids(element: ET.Element, prefix: str) -> None:
    for name, value in element.attrib.items():
        if name == "id":
            element.set(name, prefix + value)
        elif value.startswith("url(#"):
            element.set(name, value.replace("url(#", f"url(#{prefix}"))


def _add_title(element: ET.Element) -> None:
    if (
        element.get("role") == "graphics-symbol"
        and element.tag != f"{{{_SVG}}}g"
        and element.get("aria-label")
    ):
        title = ET.SubElement(element, f"{{{_SVG}}}title")
        title.text = element.get("aria-label")
