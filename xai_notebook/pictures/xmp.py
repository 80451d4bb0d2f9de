"""Write and read provenance in image files, as XMP in JPEG and PNG.

Photo tools read the standard fields: Dublin Core's description, XMP's creator tool, IPTC's digital
source type and, since IPTC 2025.1, the AI system and prompt. A custom field contains the request as
JSON, so that `read_metadata` can return the cell that repeats the request. The JSON describes the
picture only: it has no API key, no user id and no duration of sharing, and only the digests and
names of input images.

Files with Content Credentials (C2PA) are not changed: their signature covers the entire file, so
any addition would make the signature invalid.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass, replace
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from xml.dom import minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from xai_notebook.client import bounds
from xai_notebook.client.media import Part, media_type, parts_of
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import MetadataError
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.magic_source import CHOOSE, magic_cell
from xai_notebook.settings import (
    LOCAL_MODEL,
    MAX_DOWNLOAD_BYTES,
    MAX_IMAGES,
    MAX_INPUT_IMAGES,
    package_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.pictures.picture import Picture

_SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED: Final = f"{_SOURCE_TYPES}trainedAlgorithmicMedia"
"""IPTC's digital source type of images made by a model."""
ALGORITHMIC: Final = f"{_SOURCE_TYPES}algorithmicMedia"
"""IPTC's digital source type of local previews, which are drawn by an untrained algorithm."""
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES: Final = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xaiNotebook": "https://github.com/xai-notebook/xai-notebook/ns/1.0/",
}
_XMLNS: Final = "http://www.w3.org/2000/xmlns/"
_ELEMENT: Final = minidom.Node.ELEMENT_NODE
_TEXT: Final = {minidom.Node.TEXT_NODE, minidom.Node.CDATA_SECTION_NODE}
_REQUEST: Final = "xaiNotebook:request"
_PROMPTS: Final = ("prompt", "original_prompt", "rewritten_prompt")
_OPTIONS: Final = ("aspect_ratio", "resolution", "quality", "rewrite_model")
"""Optional fields of a request that describe a picture; the value is a word or None."""
_LIMITS: Final[tuple[tuple[int | None, int | None], ...]] = (
    (None, None), (2000, None), (400, None), (400, 8000), (400, 4000), (400, 1500), (100, 300),
)  # fmt: skip
"""Maximum characters of prompts in the standard fields and in the custom field; tried in this order
until the packet fits."""
_MAX_MARKUP: Final = 20_000
"""Maximum number of tags and attributes in a packet, ten times as many as photo tools write. A
larger tree takes seconds to build and to change."""
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, even if escaped."""
_PACKET: Final = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{}\n<?xpacket end="r"?>'


@dataclass(frozen=True, slots=True)
class Metadata:
    """Provenance of an image, read from its file.

    Attributes:
        prompt: The prompt as the user wrote it.
        rewritten_prompt: The prompt as rewritten by the server or by a chat model.
        model: The model as the server named it.
        options: The aspect ratio, the resolution and other options that were set.
        creator_tool: The program that wrote the metadata, with its version.
        digital_source_type: IPTC's URI for the kind of source.
        request: The request; its input images have no URLs.
    """

    prompt: str
    rewritten_prompt: str | None
    model: str
    options: dict[str, str]
    creator_tool: str
    digital_source_type: str
    request: ImageRequest

    @property
    def cell(self) -> str:
        """The `%%xai_image` cell that requests the image again.

        The file is not trusted, so the cell does not open your files: an input image appears as
        `--image=choose:photo.png`, which is an error until you replace it with your image.
        """
        inputs = tuple(
            replace(source, label=f"{CHOOSE}{source.label}") for source in self.request.inputs
        )
        return magic_cell(replace(self.request, inputs=inputs))


def embed(image: Picture, data: bytes) -> bytes:
    """Return the file `data` with the provenance of `image` as XMP; the pixels do not change.

    Existing XMP is kept, except for the fields that we write. WebP, GIF, broken files and files
    with Content Credentials are returned unchanged.
    """
    if has_credentials(data):
        return data
    limit = MAX_JPEG_PACKET if media_type(data) == "image/jpeg" else MAX_PACKET
    existing = find_packet(data)
    for old in (existing, None) if existing else (None,):
        for standard, own in _LIMITS:
            packet = _packet(_properties(image, standard, own), old)
            if len(packet) <= limit:
                return replace_packet(data, packet)
    return data


def read_metadata(path: str | Path) -> Metadata:
    """Read the provenance of an exported image from its file.

    The file is not trusted: a DTD is refused, sizes are limited, and text is never interpreted.

    Args:
        path: A JPEG or PNG that `export` wrote; `~` is expanded.

    Raises:
        MetadataError: The file cannot be read, or has no metadata of xai-notebook.
    """
    try:
        packet = find_packet(read_bounded(Path(path).expanduser(), MAX_DOWNLOAD_BYTES))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: unknown user after ~
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise MetadataError(f"Cannot read {path}: {reason}.") from error
    properties = _read_properties(packet) if packet else {}
    if _REQUEST not in properties:
        raise MetadataError(
            f"{path} has no data about its prompt. Only JPEG and PNG files that xai-notebook "
            "exported with metadata have it; other programs may remove it."
        )
    try:
        return _metadata(json.loads(properties[_REQUEST]), properties)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(f"The metadata of {path} is damaged.") from error


# Writing


def _properties(image: Picture, standard: int | None, own: int | None) -> dict[str, str]:
    """Return the XMP properties, with at most `standard` and `own` characters of prompts.

    `standard` applies to the standard fields, `own` to the custom field.
    """
    request = image.request
    return {
        "dc:description": _shorten(image.rewritten_prompt or image.prompt, standard),
        "xmp:CreateDate": image.created.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "xmp:CreatorTool": f"xai-notebook {package_version()}",
        "Iptc4xmpExt:DigitalSourceType": ALGORITHMIC if image.model == LOCAL_MODEL else TRAINED,
        "Iptc4xmpExt:AISystemUsed": image.model or request.model,
        "Iptc4xmpExt:AIPromptInformation": _shorten(request.prompt, standard),
        _REQUEST: _request_json(image, own),
    }


def _request_json(image: Picture, limit: int | None) -> str:
    request = image.request
    fields = ("prompt", "original_prompt", "model", "n", *_OPTIONS)
    values: dict[str, Any] = {
        **{name: getattr(request, name) for name in fields},
        "rewritten_prompt": image.rewritten_prompt,
        "rewritten_by": image.rewritten_by,
        "answered_by": image.model,
        "inputs": [
            {"sha256": source.sha256, "label": _public_name(source), "parent": source.parent}
            for source in request.inputs
        ],
    }
    for name in _PROMPTS:
        if values[name] is not None:
            values[name] = _shorten(values[name], limit)
    text = json.dumps({k: v for k, v in values.items() if v is not None}, ensure_ascii=False)
    return _ILLEGAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _public_name(source: InputImage) -> str:
    """Return the name of an input image without folders, credentials, query strings or data."""
    if source.label.startswith("data:"):
        return "data URI"
    if source.label.startswith(("https://", "http://")):
        try:
            url = urlsplit(source.label)
        except ValueError:
            return "URL"
        return f"{url.scheme}://{url.hostname or ''}{url.path}"[:500]
    return re.split(r"[/\\]", source.label)[-1][:200]


def _shorten(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def _packet(properties: dict[str, str], old: bytes | None) -> bytes:
    """Return an XMP packet with `properties` and all other properties of the packet `old`."""
    lines = []
    for name, value in properties.items():
        text = escape(_ILLEGAL.sub("", value), {"\r": "&#13;"})
        if name == "dc:description":
            text = f'<rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt>'
        lines.append(f"<{name}>{text}</{name}>")
    prefixes = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    document = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" {prefixes}>\n'
        + "\n".join(lines)
        + "\n</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    merged = _merge(document, old) if old else None
    return _PACKET.format(merged or document).encode()


def _merge(document: str, old: bytes) -> str | None:
    """Return the packet `old` with the properties of `document`; None if `old` is unreadable."""
    target = _parse(old)
    rdf = _rdf(target) if target else None
    if target is None or rdf is None:
        return None
    ours = _descriptions(_rdf(minidom.parseString(document)))[0]  # noqa: S318  # our own text
    theirs = _descriptions(rdf)
    for description in theirs:
        for name in (node.nodeName for node in ours.childNodes if node.localName):
            _remove(description, name)
        if _is_empty(description):
            rdf.removeChild(description)
    if theirs and (about := theirs[0].getAttributeNS(_RDF, "about")):
        ours.setAttributeNS(_RDF, "rdf:about", about)  # a packet describes one resource
    rdf.appendChild(target.importNode(ours, deep=True))
    try:
        return "".join(node.toxml() for node in target.childNodes if node.nodeType == _ELEMENT)
    except RecursionError:  # nested too deeply to be metadata
        return None


def _remove(description: minidom.Element, name: str) -> None:
    """Remove a property, written as an element or as an attribute."""
    uri, local = _qualified(name)
    if description.hasAttributeNS(uri, local):
        description.removeAttributeNS(uri, local)
    for node in _children(description, uri, local):
        description.removeChild(node)


def _is_empty(description: minidom.Element) -> bool:
    attributes = description.attributes.values()
    names = {node.name for node in attributes if node.namespaceURI != _XMLNS}
    has_children = any(node.nodeType == _ELEMENT for node in description.childNodes)
    return not has_children and names <= {"rdf:about"}


def _qualified(name: str) -> tuple[str, str]:
    prefix, _, local = name.partition(":")
    return _NAMESPACES[prefix], local


# Reading


def _parse(packet: bytes) -> minidom.Document | None:
    """Parse untrusted XML; None if it is invalid, not UTF-8, or has a DTD or too much markup.

    Without a DTD there are no entities that could expand or load external files. Decoding the text
    first excludes encodings that could hide a DTD.
    """
    try:
        text = packet.decode().strip("\ufeff\0 \n\r\t")
        if re.search(r"<!(?!--|\[CDATA\[)", text):
            return None
        if sum(map(text.count, ("<", '="', "='"))) > _MAX_MARKUP:
            return None
        return minidom.parseString(text)  # noqa: S318  # no DTD, see above
    except (ExpatError, ValueError):
        return None


def _rdf(document: minidom.Document) -> Any:
    root: Any = document.documentElement
    if (root.namespaceURI, root.localName) == (_RDF, "RDF"):
        return root
    return next(iter(_children(root, _RDF, "RDF")), None)


def _children(node: Any, uri: str, local: str) -> list[Any]:
    return [n for n in node.childNodes if (n.namespaceURI, n.localName) == (uri, local)]


def _descriptions(rdf: Any) -> list[Any]:
    return _children(rdf, _RDF, "Description")


def _read_properties(packet: bytes) -> dict[str, str]:
    """Return the values of the properties that `read_metadata` needs."""
    document = _parse(packet)
    rdf = _rdf(document) if document else None
    names = ("xmp:CreatorTool", "Iptc4xmpExt:DigitalSourceType", _REQUEST)
    properties = {}
    for description in _descriptions(rdf) if rdf else ():
        for name in names:
            uri, local = _qualified(name)
            if description.hasAttributeNS(uri, local):
                properties[name] = description.getAttributeNS(uri, local)
            for node in _children(description, uri, local):
                texts = (child.data for child in node.childNodes if child.nodeType in _TEXT)
                properties[name] = "".join(texts)
    return properties


def _metadata(values: dict[str, Any], properties: dict[str, str]) -> Metadata:
    """Build the result from untrusted JSON; any exception means that the JSON is damaged."""
    count = values["n"]
    if type(count) is not int or not 1 <= count <= MAX_IMAGES:
        raise ValueError(f"n is {count!r}")
    sources = values.get("inputs", [])
    if not isinstance(sources, list) or len(sources) > MAX_INPUT_IMAGES:
        raise TypeError(f"{sources!r} is not a list of input images")
    request = ImageRequest(
        prompt=_prompt(values["prompt"]),
        model=_line(bounds.text(values["model"])) or "",
        n=count,
        inputs=tuple(_input(source) for source in sources),
        original_prompt=_optional(values, "original_prompt", _prompt),
        **{name: _line(values.get(name)) for name in _OPTIONS},
    )
    return Metadata(
        prompt=request.original_prompt or request.prompt,
        rewritten_prompt=_optional(values, "rewritten_prompt", bounds.text),
        model=_line(values.get("answered_by")) or request.model,
        options={k: v for k, v in asdict(request).items() if k in _OPTIONS and v is not None},
        creator_tool=bounds.line(properties.get("xmp:CreatorTool", "")),
        digital_source_type=bounds.line(properties.get("Iptc4xmpExt:DigitalSourceType", "")),
        request=request,
    )


def _input(source: dict[str, Any]) -> InputImage:
    sha256, parent = (_digest(source.get(name)) for name in ("sha256", "parent"))
    return InputImage(
        url="", sha256=sha256 or "", label=_line(source.get("label")) or "", parent=parent
    )


def _digest(value: object) -> str | None:
    """Return a digest; None if the value is missing or invalid."""
    try:
        return bounds.digest(value)
    except ValueError:
        return None


def _optional(values: dict[str, Any], name: str, read: Callable[[object], str]) -> str | None:
    value = values.get(name)
    return None if value is None else read(value)


def _prompt(value: object) -> str:
    """Return a prompt, stripped; an empty prompt is an error."""
    text = bounds.text(value).strip()
    if not text:
        raise ValueError("a prompt is empty")
    return text


def _line(value: object) -> Any:
    """Return the value of an option on one line; None if it is missing or empty."""
    if value is None:
        return None
    text = bounds.text(value)[: bounds.MAX_NAME].strip()
    return "".join(char if char.isprintable() else "?" for char in text) or None


# Containers: find and replace XMP in a JPEG or PNG

MAX_PACKET: Final = 4 << 20
"""Maximum bytes of a packet, a thousand times as many as photo tools write."""
_JPEG_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
MAX_JPEG_PACKET: Final = 0xFFFF - 2 - len(_JPEG_HEADER)
"""Maximum bytes of a packet in a JPEG segment, whose length field has 16 bits."""
_PNG_KEYWORD: Final = b"XML:com.adobe.xmp\0"
_MARKER: Final = 0xFF
_APP0, _APP1, _APP11 = b"\xff\xe0", b"\xff\xe1", b"\xff\xeb"
_LAST: Final = {b"\xff\xda", b"\xff\xd9", b"IEND"}
"""Parts that end the search for XMP: the first scan or the end of a JPEG, or the end of a PNG."""
_CREDENTIALS: Final = {b"caBX", b"C2PA"}
"""Types of chunks that contain a C2PA manifest, in PNG and in WebP."""
_C2PA: Final = bytes.fromhex("63327061 0011 0010 8000 00AA00389B71")
_JUMBF: Final = re.compile(
    rb"JP.{6}(?:....jumb|\x00\x00\x00\x01jumb.{8})....jumd" + re.escape(_C2PA), re.DOTALL
)
"""Start of a JPEG segment with a C2PA manifest: a JUMBF superbox of type C2PA."""


def find_packet(data: bytes) -> bytes | None:
    """Return the XMP packet in a JPEG or PNG; None without a readable packet."""
    for part in _parts(data):
        if _is_xmp(data, part):
            body = data[part.body : part.end]
            packet = body[len(_JPEG_HEADER) :] if part.kind == _APP1 else _png_text(body)
            if packet and len(packet) <= MAX_PACKET:
                return packet
    return None


def has_credentials(data: bytes) -> bool:
    """Tell whether a JPEG, PNG or WebP has Content Credentials (C2PA), valid or not."""
    try:
        return any(
            part.kind in _CREDENTIALS
            or (part.kind == _APP11 and _JUMBF.match(data, part.body, part.end) is not None)
            for part in parts_of(data)
        )
    except ValueError:
        return False


def replace_packet(data: bytes, packet: bytes) -> bytes:
    """Return a JPEG or PNG with `packet` as its only XMP; no other byte changes.

    Other formats and broken files are returned unchanged. A JPEG's limit is `MAX_JPEG_PACKET`.
    """
    if media_type(data) == "image/jpeg":
        segment = _JPEG_HEADER + packet
        new = _APP1 + (len(segment) + 2).to_bytes(2, "big") + segment
    else:
        # The XMP specification requires uncompressed text without a language.
        body = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
        new = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    parts = _parts(data)
    if not parts:
        return data
    position = parts[0].start
    for part in parts:
        if not _is_preface(data, part):
            break
        position = part.next
    pieces = [data[:position], new]
    for part in parts:
        if part.start >= position and _is_xmp(data, part):
            pieces.append(data[position : part.start])
            position = part.next
    return b"".join([*pieces, data[position:]])


def _parts(data: bytes) -> list[Part]:
    """Return the parts of a JPEG or PNG; empty for other formats and broken files."""
    try:
        parts = list(parts_of(data))
    except ValueError:
        return []
    whole = parts and parts[-1].kind in _LAST
    return parts if whole and (parts[0].kind == b"IHDR" or parts[0].kind[0] == _MARKER) else []


def _is_xmp(data: bytes, part: Part) -> bool:
    if part.kind == _APP1:
        return data.startswith(_JPEG_HEADER, part.body, part.end)
    return part.kind == b"iTXt" and data.startswith(_PNG_KEYWORD, part.body, part.end)


def _is_preface(data: bytes, part: Part) -> bool:
    """Tell whether readers expect a part before the XMP: JFIF or Exif in a JPEG, IHDR in a PNG."""
    is_exif = part.kind == _APP1 and data.startswith(b"Exif\0", part.body, part.end)
    return is_exif or part.kind in {_APP0, b"IHDR"}


def _png_text(body: bytes) -> bytes | None:
    """Return the text of an iTXt chunk, decompressed up to a limit; None if it is damaged."""
    start = len(_PNG_KEYWORD)
    compressed = body[start : start + 1] == b"\1"
    _language, *more = body[start + 2 :].split(b"\0", 2)
    if len(more) != 2:  # noqa: PLR2004  # the translated keyword and the text
        return None
    text = more[1]
    if not compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_PACKET + 1)
    except zlib.error:
        return None
