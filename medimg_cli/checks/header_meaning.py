"""Rules about what a header says in words: text fields, key-values, and the intent of NIfTI.

Sources: ``nifti1.h``, "INTERPRETATION OF VOXEL DATA", for which axes, types and parameters an intent asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medimg_cli.checks.phrases import listed
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject

__all__ = ["RULES"]

_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")
#: Formats whose key-values are plain text by their own standard (NRRD: 7-bit ASCII).
_ASCII_FORMATS = frozenset({"nrrd"})
#: Formats whose texts come from a standard with character sets and line breaks of its own.
_OWN_TEXT = frozenset({"dicom"})
#: Characters that texts may hold below the blank: tab, line feed, carriage return.
_BREAKS = b"\t\n\r"

#: intent_code -> components on the axis of vectors; 0: any number above 1.
_COMPONENTS = {
    1004: 0, 1005: 0, 1006: 3, 1007: 0, 1008: 0, 1009: 3, 1010: 4, 2003: 3, 2004: 4, 2006: 3,
}  # fmt: skip
#: intent_code of statistics -> how many parameters they need (``nifti1.h``); those without any are left out.
_PARAMETERS = {
    2: 1, 3: 1, 4: 2, 6: 1, 7: 2, 8: 2, 9: 2, 10: 1, 11: 2, 12: 3, 13: 2, 14: 2, 15: 2, 16: 2, 17: 2, 18: 3, 19: 1,
    20: 2, 21: 2,
}  # fmt: skip
_LABEL = 1002


# text


def _texts(subject: Subject) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of a header that are not empty: name of the field, and its bytes."""
    header, fields = subject.header, subject.nifti
    if header.format in _OWN_TEXT:
        return
    if fields is not None:
        for name in _TEXTS:
            raw = fields.get(name, b"")
            if raw and raw[0]:
                yield name, raw.partition(b"\0")[0]
        return
    if header.description:
        yield "the description", header.description.encode("utf-8", "surrogateescape")
    for name, value in header.metadata.items():
        if isinstance(value, str) and value:
            yield (
                f"key {name!r}" if name.isascii() and name.isprintable() else "a key",
                value.encode("utf-8", "replace"),
            )


def _not_ascii(subject: Subject) -> Iterator[Found]:
    if subject.nifti is None and subject.header.format not in _ASCII_FORMATS:
        return
    odd = [name for name, raw in _texts(subject) if not raw.isascii()]
    if odd:
        yield Found(f"{listed(odd, 1)} holds characters beyond ASCII")


def _control(subject: Subject) -> Iterator[Found]:
    odd = []
    for name, raw in _texts(subject):
        code = next((byte for byte in raw if (byte < 32 and byte not in _BREAKS) or byte == 127), None)
        if code is not None:
            odd.append((name, code))
    if odd:
        names = listed([name for name, _ in odd], 1)
        yield Found(f"{names} holds control characters, the first is 0x{odd[0][1]:02x}")


def _behind_end(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is not None:
        odd = [name for name in _TEXTS if fields.get(name, b"").partition(b"\0")[2].strip(b"\0")]
        if odd:
            yield Found(f"{listed(odd, 1)} holds more text behind the null character that ends it")


# intent


def _intent(subject: Subject) -> Mapping[str, Any] | None:
    """Return the raw fields of a NIfTI header with an intent, CIFTI's left out."""
    fields = subject.nifti
    return fields if fields is not None and fields["intent_code"] and not subject.is_cifti else None


def _intent_unknown(subject: Subject) -> Iterator[Found]:
    from medimg_cli.formats.nifti_fields import INTENTS

    fields = _intent(subject)
    if fields is not None and fields["intent_code"] not in INTENTS:
        yield Found(f"intent_code is {fields['intent_code']}, which the standard does not know")


def _intent_shape(subject: Subject) -> Iterator[Found]:
    fields = _intent(subject)
    if fields is None or fields["intent_code"] not in _COMPONENTS:
        return
    rank, dim = fields["dim"][0], fields["dim"]
    sizes = [dim[axis] for axis in (4, 5) if axis <= rank]
    wanted = _COMPONENTS[fields["intent_code"]]
    count = next((size for size in reversed(sizes) if size > 1), 1)
    intent = subject.header.intent
    if count == 1 and wanted != 1 and not _in_voxel(fields, wanted):
        yield Found(f"the intent is {intent}, and no axis behind space holds its components")
    elif wanted and count not in (1, wanted):
        yield Found(f"the intent is {intent} with {wanted} components, the axis for them has {count}")
    elif fields["intent_code"] in (1004, 1005) and not _is_matrix(fields, count):
        yield Found(f"the intent is {intent}, whose parameters do not make {count} components")


def _in_voxel(fields: Mapping[str, Any], wanted: int) -> bool:
    """Tell whether the datatype itself holds the components: RGB and RGBA."""
    return {128: 3, 2304: 4}.get(fields["datatype"]) == wanted


def _is_matrix(fields: Mapping[str, Any], count: int) -> bool:
    """Tell whether a matrix of M x N has as many components: intent_p1 is M, intent_p2 is N; a symmetric one half."""
    rows, columns = fields["intent_p"][:2]
    if fields["intent_code"] == 1004:
        return bool(rows * columns == count)
    return not rows or bool(rows * (rows + 1) / 2 == count)


def _intent_type(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.intent == "label" and header.dtype.startswith(("float", "complex")):
        yield Found(f"the intent is label, the values are stored as {header.dtype}")


def _label_scaled(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.intent == "label" and header.scaled:
        yield Found(
            f"the intent is label, and labels are scaled: slope {header.slope:g}, intercept {header.inter or 0:g}"
        )


def _parameters(subject: Subject) -> Iterator[Found]:
    fields = _intent(subject)
    if fields is None:
        return
    wanted = _PARAMETERS.get(fields["intent_code"], 0)
    if wanted and not any(fields["intent_p"][:wanted]) and fields["dim"][0] < 5:
        names = "intent_p1" if wanted == 1 else f"intent_p1 to intent_p{wanted}"
        yield Found(f"the intent is {subject.header.intent}, its {'parameter is' if wanted == 1 else 'parameters are'} "
                    f"missing: {names} 0")  # fmt: skip


RULES = (
    Rule(
        "H050",
        "text-not-ascii",
        "warning",
        _not_ascii,
        "Texts of a header are ASCII.",
        why="Neither NIfTI nor NRRD says how other letters are encoded, so each tool shows others, or fails.",
        example="A name with an umlaut in descrip, written by a scanner as Latin-1.",
        remedy="`medimg edit --description` or `--set` states it in plain letters.",
    ),
    Rule(
        "H051",
        "text-control",
        "warning",
        _control,
        "Texts of a header hold no control characters.",
        why="They may be noise from memory that was never cleared, or orders to the terminal that prints them.",
        example="An escape sequence in descrip that clears the screen.",
        remedy="`medimg edit --description ''` or `--unset` drops the text.",
    ),
    Rule(
        "H052",
        "text-behind-end",
        "info",
        _behind_end,
        "Nothing stands behind the null character that ends a text.",
        why="What is left there is shown by no tool, so that it may hold names that nobody expects.",
        example="A short description written over a longer one.",
        remedy="`medimg edit --description` writes the field anew, and nothing behind.",
    ),
    Rule(
        "H053",
        "intent-unknown",
        "warning",
        _intent_unknown,
        "The intent is one that the standard knows.",
        why="What the values mean is lost on everybody but the program that made the code up.",
        example="intent_code 12345.",
        remedy="`medimg edit --intent` states one that exists, or none.",
    ),
    Rule(
        "H054",
        "intent-shape",
        "warning",
        _intent_shape,
        "An intent of vectors has an axis with as many steps as they have components.",
        why="Tools that apply displacements or colour directions read past the voxels, or refuse.",
        example="A displacement field with 2 components; the intent vector on a volume of three axes.",
        remedy="`medimg edit --intent none`, or `medimg merge` the components and then `medimg edit --intent vector`.",
    ),
    Rule(
        "H055",
        "label-type",
        "warning",
        _intent_type,
        "Labels are stored as whole numbers.",
        why="Fractions between two labels are no label, and nothing in the file keeps them out.",
        example="A segmentation saved as float32 with the intent label.",
        remedy="`medimg convert --dtype uint8` or another whole type: it refuses where a value is a fraction.",
    ),
    Rule(
        "H056",
        "label-scaled",
        "warning",
        _label_scaled,
        "Labels have no slope and intercept.",
        why="Readers that look at stored numbers and readers that scale them see other labels.",
        example="A label map saved as int16 with slope 0.5 by a tool that scales everything.",
        remedy="`medimg convert --dtype uint8` or another whole type stores the labels themselves.",
    ),
    Rule(
        "H057",
        "statistic-parameters",
        "info",
        _parameters,
        "A statistic states its parameters.",
        why="Without degrees of freedom nobody can turn the values into probabilities.",
        example="A t-map of FSL, whose intent is t-test and whose intent_p1 is 0.",
        remedy="Write the map again with a program that fills intent_p1 to intent_p3, or keep the numbers beside it.",
    ),
)
"""Rules about texts and intents."""
