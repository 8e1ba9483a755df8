"""Files of points and boxes: what goes out comes back, Slicer's files say what Slicer means, and bad files are refused."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations import BoundingBoxes, BoundingBoxFormat, Points
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    LossError,
    LossWarning,
    MedImgError,
    NotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from tests import strategies
from tests.helpers import AFFINES, one_line

OBLIQUE = AFFINES["left-handed"]
SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
RAS, LPS = BoundingBoxFormat("RAS"), BoundingBoxFormat("LPS", "center_size")

names = (st.text(max_size=8) | st.text("ab,;\"'#\n\r\t \u00e9\x1b\x85\u2028", max_size=8)).filter(
    lambda text: not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text)
)
"""What may be the name of a point: commas, quotes and ends of lines, too."""


def point(position: Any, label: str = "", **more: Any) -> dict[str, Any]:
    return {"label": label, "position": position, **more}


def markups(*each: dict[str, Any], **more: Any) -> str:
    return json.dumps({"@schema": SCHEMA, "markups": list(each), **more})


def fiducials(*points: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": list(points), **more}


def roi(center: Any = (1, 2, 3), size: Any = (4, 5, 6), **more: Any) -> dict[str, Any]:
    return {"type": "ROI", "coordinateSystem": "LPS", "roiType": "Box", "center": center, "size": size, **more}


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# -- files that others write

#: As 3D Slicer 5 writes a list of two points, one of them not placed yet.
SLICER = """\
{
    "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#",
    "markups": [
        {
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "coordinateUnits": "mm",
            "locked": false,
            "fixedNumberOfControlPoints": false,
            "labelFormat": "%N-%d",
            "lastUsedControlPointNumber": 2,
            "controlPoints": [
                {
                    "id": "1",
                    "label": "AC",
                    "description": "anterior commissure",
                    "associatedNodeID": "vtkMRMLScalarVolumeNode1",
                    "position": [-12.5, 34.25, 7.125],
                    "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
                    "selected": true,
                    "locked": false,
                    "visibility": true,
                    "positionStatus": "defined"
                },
                {
                    "id": "2",
                    "label": "PC",
                    "description": "",
                    "associatedNodeID": "",
                    "position": "",
                    "selected": true,
                    "locked": false,
                    "visibility": true,
                    "positionStatus": "undefined"
                }
            ],
            "measurements": [],
            "display": {"visibility": true, "opacity": 1.0, "color": [0.4, 1.0, 1.0]}
        }
    ]
}
"""


def test_a_list_of_points_of_slicer(tmp_path: Path) -> None:
    points = Points.read(put(tmp_path, "F.mrk.json", SLICER))
    assert points.axes == "LPS" and points.num_points == 2
    assert points.numpy("RAS")[0].tolist() == [12.5, -34.25, 7.125]
    assert np.isnan(points.numpy()[1]).all()
    assert points.metadata == {"names": ["AC", "PC"], "descriptions": ["anterior commissure", ""]}


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("LPS", [-1, -2, 3]),
        ("RAS", [1, 2, 3]),
        ("0", [1, 2, 3]),
        ("1", [-1, -2, 3]),
        (0, [1, 2, 3]),
        (None, [-1, -2, 3]),
    ],
)
def test_coordinate_systems_of_markups(tmp_path: Path, system: Any, expected: list[float]) -> None:
    markup = fiducials(point([1, 2, 3]))
    markup |= {"coordinateSystem": system} if system is not None else {}
    if system is None:
        del markup["coordinateSystem"]
    assert Points.read(put(tmp_path, "a.json", markups(markup))).numpy("RAS").tolist() == [expected]


@pytest.mark.parametrize(("units", "factor"), [("mm", 1), ("um", 1e-3), (["mm", "UCUM", "millimeter"], 1)])
def test_units_of_markups(tmp_path: Path, units: Any, factor: float) -> None:
    path = put(tmp_path, "a.mrk.json", markups(fiducials(point([1000, 2000, 3000]), coordinateUnits=units)))
    assert np.allclose(Points.read(path).numpy(), np.multiply([[1000, 2000, 3000]], factor))
    path = put(tmp_path, "b.mrk.json", markups(roi((1000, 0, 0), (10, 20, 30), coordinateUnits=units)))
    assert np.allclose(BoundingBoxes.read(path).numpy(), np.multiply([[1000, 0, 0, 10, 20, 30]], factor))


def test_one_list_of_several(tmp_path: Path) -> None:
    content = markups(
        fiducials(point([1, 2, 3]), name="a"), roi(), {**fiducials(point([4, 5, 6])), "type": "Curve", "name": "b"}
    )
    path = put(tmp_path, "a.mrk.json", content)
    assert Points.read(path, name="b").numpy().tolist() == [[4, 5, 6]]
    assert Points.read(path, name="b").metadata == {"name": "b"}
    with pytest.raises(UsageError, match=r"2 lists of points \('a', 'b'\); choose one by name="):
        Points.read(path)
    with pytest.raises(UsageError, match="no such list"):
        Points.read(path, name="c")


def test_rois_as_slicers_forum_shows_them(tmp_path: Path) -> None:
    """Centre in the control point, axes of RAS written in LPS."""
    orientation = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
    each = [
        {
            "name": name, "type": "ROI", "roiType": "Box", "coordinateSystem": "LPS", "coordinateUnits": "mm",
            "controlPoints": [{"position": position, "locked": True}], "orientation": orientation, "size": size,
        }
        for name, position, size in (("one", [5.9, -12.3, -10.2], [39.3, 32.4, 30]), ("two", [45.9, -102.3, 0], [20, 30.5, 44]))
    ]  # fmt: skip
    boxes = BoundingBoxes.read(put(tmp_path, "R.mrk.json", markups(*each)))
    assert boxes.format == LPS and boxes.metadata == {"names": ["one", "two"]}
    assert boxes.numpy().tolist() == [[5.9, -12.3, -10.2, 39.3, 32.4, 30], [45.9, -102.3, 0, 20, 30.5, 44]]
    assert np.allclose(boxes.numpy(RAS)[1], [-55.9, 87.05, -22, -35.9, 117.55, 22])


def test_a_turned_roi_keeps_its_edges(tmp_path: Path) -> None:
    # in LPS: first edge (0.6, 0.8, 0), second (-0.8, 0.6, 0)
    turned = [0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1]
    path = put(tmp_path, "R.mrk.json", markups(roi((10, 20, 30), (10, 5, 2), orientation=turned, label={"value": 7})))
    boxes = BoundingBoxes.read(path)
    # half extents: 0.6 * 5 + 0.8 * 2.5 = 5 along L, 0.8 * 5 + 0.6 * 2.5 = 5.5 along P, 1 along S
    assert np.allclose(boxes.numpy(BoundingBoxFormat("LPS")), [[5, 14.5, 29, 15, 25.5, 31]])
    assert np.allclose(boxes.numpy(RAS), [[-15, -25.5, 29, -5, -14.5, 31]])
    assert np.asarray(boxes.labels).tolist() == [7]
    # an image whose voxels run along the edges sees the box itself, not its hull
    image = AffineMatrix.from_spacing((2, 0.5, 1), origin=(3, 4, 5), direction=(-0.6, 0.8, 0, -0.8, -0.6, 0, 0, 0, 1))
    seen = BoundingBoxes.read(path, affine=image)
    assert seen.affine == image and np.allclose(seen.numpy(BoundingBoxFormat.IJKWHD)[0, 3:], [5, 10, 2])
    straight = BoundingBoxes.read(path, affine=AffineMatrix(), format=BoundingBoxFormat("IJK"))
    assert np.allclose(straight.numpy(), [[-15, -25.5, 29, -5, -14.5, 31]])


def test_rois_turned_against_each_other(tmp_path: Path) -> None:
    turned = roi((10, 20, 30), (10, 5, 2), orientation=[0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1], name="t")
    path = put(tmp_path, "R.mrk.json", markups(turned, roi(label={"value": 2})))
    with pytest.raises(UnsupportedError, match="turned against each other.*format="):
        BoundingBoxes.read(path)
    boxes = BoundingBoxes.read(path, format=BoundingBoxFormat("LPS"))
    assert np.allclose(boxes.numpy(), [[5, 14.5, 29, 15, 25.5, 31], [-1, -0.5, 0, 3, 4.5, 6]])
    assert boxes.metadata == {"names": ["t", ""]} and np.asarray(boxes.labels).tolist() == [0, 2]
    with pytest.raises(UsageError, match="affine="):
        BoundingBoxes.read(path, format=BoundingBoxFormat.IJKIJK)


def test_an_axis_aligned_roi_may_name_its_edges_in_any_order(tmp_path: Path) -> None:
    path = put(tmp_path, "R.mrk.json", markups(roi((1, 2, 3), (4, 5, 6), orientation=[0, 0, 1, 1, 0, 0, 0, 1, 0])))
    assert BoundingBoxes.read(path).numpy().tolist() == [[1, 2, 3, 6, 4, 5]]


FCSV = '''\
# Markups fiducial file version = 4.13
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
0,-19.906699999999987,13.9347,29.442970822281154,0,0,0,1,1,1,0,F-1,,
1,-7.3939,-76.94990495817181,17.552540297898375,0,0,0,1,1,1,0,"left, ""upper""",some more,,2,0
'''


def test_slicers_old_lists(tmp_path: Path) -> None:
    points = Points.read(put(tmp_path, "F.fcsv", FCSV))
    assert points.numpy("RAS")[0].tolist() == [19.906699999999987, -13.9347, 29.442970822281154]
    assert points.metadata == {"names": ["F-1", 'left, "upper"'], "descriptions": ["", "some more"]}
    for code, expected in (("0", "RAS"), ("1", "LPS"), ("RAS", "RAS")):
        assert Points.read(put(tmp_path, "F.fcsv", FCSV.replace("= LPS", f"= {code}"))).axes == expected
    silent = FCSV.replace("# CoordinateSystem = LPS\n", "")
    assert Points.read(put(tmp_path, "F.fcsv", silent)).axes == "RAS"  # as Slicer takes it
    with pytest.raises(FormatError, match="coordinate system is '2'"):
        Points.read(put(tmp_path, "F.fcsv", FCSV.replace("= LPS", "= 2")))
    with pytest.raises(FormatError, match="columns"):
        Points.read(put(tmp_path, "F.fcsv", "a,1,2,3,1,1\n"))


def test_slicers_control_points_table(tmp_path: Path) -> None:
    table = "label,l,p,s,defined,selected,visible,locked,description\nF-1,-19.9067,13.9347,29.443,1,1,1,0,\nF-2,0,0,0,0,1,1,0,why\n"
    for name, text in (
        ("a.csv", table),
        ("a.tsv", table.replace(",", "\t")),
        ("b.CSV", "\ufeff" + table.replace("\n", "\r\n")),
    ):
        points = Points.read(put(tmp_path, name, text))
        assert points.numpy("RAS")[0].tolist() == [19.9067, -13.9347, 29.443]
        assert np.isnan(points.numpy()[1]).all()
        assert points.metadata == {"names": ["F-1", "F-2"], "descriptions": ["", "why"]}


def test_a_table_that_does_not_say_its_axes(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "x,y,z\n1,2,3\n")
    with pytest.raises(UsageError, match="axes='RAS' or axes='LPS'"):
        Points.read(path)
    assert Points.read(path, axes="LPS").numpy("RAS").tolist() == [[-1, -2, 3]]
    said = put(tmp_path, "b.csv", "# CoordinateSystem = LPS\nx,y,z\n1,2,3\n")
    assert Points.read(said).axes == "LPS"
    with pytest.raises(UsageError, match="along LPS, not along RAS"):
        Points.read(said, axes="RAS")
    with pytest.raises(UsageError, match="holds one list"):
        Points.read(said, name="a")
    voxels = Points.read(put(tmp_path, "c.csv", "k,i,j\n3,1,2\n"), affine=OBLIQUE)
    assert voxels.axes == "KIJ" and voxels.numpy("IJK").tolist() == [[1, 2, 3]] and voxels.affine == OBLIQUE


# -- there and back


@settings(deadline=None)
@given(
    st.lists(st.tuples(strategies.points, names, names), max_size=4),
    st.sampled_from(("RAS", "LPS", "SAL", "IJK", "KJI")),
    strategies.affines,
    st.sampled_from((".csv", ".tsv", ".mrk.json")),
)
def test_points_there_and_back(tmp_path_factory: Any, rows: Any, axes: str, affine: AffineMatrix, suffix: str) -> None:
    path = tmp_path_factory.mktemp("points") / f"a{suffix}"
    metadata = {"names": [row[1] for row in rows], "descriptions": [row[2] for row in rows]}
    points = Points(np.reshape([row[0] for row in rows], (-1, 3)), axes, affine=affine, metadata=metadata)
    options = {} if suffix == ".mrk.json" else {"axes": axes}
    assert points.write(path, **options) == ()
    back = Points.read(path, affine=affine)
    if suffix == ".mrk.json":
        assert back.axes == "LPS" and np.array_equal(back.numpy(), points.numpy("LPS"))
        if axes in ("RAS", "LPS", "SAL"):
            assert np.array_equal(back.numpy(axes), points.numpy())
    else:
        assert (back.axes, back.affine) == (axes, affine) and np.array_equal(back.numpy(), points.numpy())
    for key, expected in metadata.items():
        assert back.metadata.get(key, [""] * len(rows)) == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(strategies.points, strategies.points, names, st.integers(-(2**62), 2**62)), max_size=4),
    st.sampled_from(("RAS", "LPS", "SAL", "IJK", "KJI")),
    st.sampled_from(("corners", "center_size")),
    strategies.affines,
    st.sampled_from((".csv", ".tsv")),
)
def test_boxes_there_and_back(
    tmp_path_factory: Any, rows: Any, axes: str, representation: str, affine: AffineMatrix, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("boxes") / f"a{suffix}"
    boxes = BoundingBoxes(
        np.reshape([(*row[0], *row[1]) for row in rows], (-1, 6)),
        BoundingBoxFormat(axes, representation),
        labels=[row[3] for row in rows],
        affine=affine,
        metadata={"names": [row[2] for row in rows]},
    )
    assert boxes.write(path) == ()
    back = BoundingBoxes.read(path, affine=affine)
    assert back.metadata.get("names", [""] * len(rows)) == boxes.metadata.pop("names")
    back.metadata.clear()
    assert back == boxes


@settings(deadline=None)
@given(
    st.lists(st.tuples(strategies.points, strategies.spacings), min_size=1, max_size=3),
    st.sampled_from(("RAS", "SAL", "IJK", "KJI")),
    strategies.grids.filter(lambda grid: grid.affine.shear_deg < 1e-6).map(lambda grid: grid.affine),
)
def test_rois_there_and_back(tmp_path_factory: Any, rows: Any, axes: str, affine: AffineMatrix) -> None:
    """Boxes of a turned image come back turned: as they were, not as the hull around them."""
    path = tmp_path_factory.mktemp("rois") / "a.mrk.json"
    data = [(*center, *size) for center, size in rows]
    boxes = BoundingBoxes(data, BoundingBoxFormat(axes, "center_size"), affine=affine, labels=range(len(rows)))
    assert boxes.to_format(RAS).write(path) == ()
    back = BoundingBoxes.read(path, affine=affine)
    assert np.array_equal(back.labels, range(len(rows)))
    room = 1e-6 * (1 + np.abs(boxes.numpy()).max() + np.abs(boxes.numpy(RAS)).max())
    assert np.allclose(back.numpy(boxes.format), boxes.numpy(), rtol=0, atol=room)
    assert np.allclose(back.numpy(RAS), boxes.numpy(RAS), rtol=0, atol=room)


def test_old_lists_there_and_back(tmp_path: Path) -> None:
    points = Points(
        [[1.5, 2, 3], [0.1, -5, 1e-7]], affine=OBLIQUE, metadata={"names": ['a, "b"', ""], "descriptions": ["", "d"]}
    )
    assert points.write(tmp_path / "a.fcsv") == ()
    back = Points.read(tmp_path / "a.fcsv", affine=OBLIQUE)
    assert back.metadata == points.metadata and np.array_equal(back.numpy(), points.numpy("LPS"))
    for bad in (Points([[math.nan] * 3], "RAS"), Points([[1, 2, 3]], "RAS", metadata={"names": ["a\nb"]})):
        with pytest.raises(UnsupportedError, match=r"write \.mrk\.json"):
            bad.write(tmp_path / "b.fcsv")
    with pytest.raises(UsageError, match="no format of boxes"):
        BoundingBoxes(np.zeros((1, 6)), RAS).write(tmp_path / "b.fcsv")


def test_what_is_written_is_what_slicers_schema_asks_for(tmp_path: Path) -> None:
    Points([[1, 2, 3], [math.nan] * 3], "RAS", metadata={"names": ["a", "\u00df"], "name": "both"}).write(
        tmp_path / "p.mrk.json"
    )
    content = json.loads((tmp_path / "p.mrk.json").read_text(encoding="utf-8"))
    assert content["@schema"] == SCHEMA
    (markup,) = content["markups"]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert markup["name"] == "both"
    one, two = markup["controlPoints"]
    assert one["position"] == [-1, -2, 3] and one["label"] == "a" and one["positionStatus"] == "defined"
    assert "position" not in two and two["label"] == "\u00df" and two["positionStatus"] == "undefined"
    BoundingBoxes([[0, 0, 0, 2, 4, 6]], labels=[3], affine=OBLIQUE).write(tmp_path / "b.mrk.json")
    (markup,) = json.loads((tmp_path / "b.mrk.json").read_text())["markups"]
    assert (markup["type"], markup["roiType"], markup["insideOut"], markup["label"]) == (
        "ROI",
        "Box",
        False,
        {"value": 3},
    )
    edges = np.reshape(markup["orientation"], (3, 3))
    assert np.allclose(edges.T @ edges, np.eye(3)) and np.isclose(np.linalg.det(edges), 1)
    assert np.allclose(np.abs(edges), np.abs(np.array(OBLIQUE.direction)))
    assert np.allclose(markup["size"], np.multiply([2, 4, 6], OBLIQUE.spacing))
    assert np.allclose(markup["center"], np.multiply(OBLIQUE.apply((1, 2, 3)), (-1, -1, 1)))


def test_voxel_points_become_millimetres_in_a_table_unless_asked(tmp_path: Path) -> None:
    points = Points([[1, 2, 3]], affine=AffineMatrix.from_spacing((2, 3, 4)))
    points.write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "label,r,a,s\n,2,6,12\n"
    points.write(tmp_path / "b.csv", axes="IJK")
    assert (tmp_path / "b.csv").read_text() == "# affine = 2 0 0 0 0 3 0 0 0 0 4 0\nlabel,i,j,k\n,1,2,3\n"
    assert Points.read(tmp_path / "b.csv") == points
    Points([[1, 2, 3]]).write(tmp_path / "c.csv")  # of no image yet
    assert (tmp_path / "c.csv").read_text() == "label,i,j,k\n,1,2,3\n"
    assert not Points.read(tmp_path / "c.csv").has_affine


def test_without_an_affine_there_is_no_way_to_millimetres(tmp_path: Path) -> None:
    for item in (Points([[1, 2, 3]]), BoundingBoxes(np.zeros((1, 6)))):
        with pytest.raises(UsageError, match="without an affine"):
            item.write(tmp_path / "a.mrk.json")
        with pytest.raises(UsageError, match="without an affine"):
            item.write(tmp_path / "a.csv", axes="RAS")
    assert not list(tmp_path.iterdir())


def test_sheared_boxes_are_no_rois(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"degrees apart.*write a table"):
        BoundingBoxes(np.ones((1, 6)), affine=AFFINES["sheared"]).write(tmp_path / "a.mrk.json")
    BoundingBoxes(np.ones((1, 6)), affine=AFFINES["sheared"]).write(tmp_path / "a.csv")


def test_metadata_that_a_file_cannot_hold(tmp_path: Path) -> None:
    metadata = {"names": ["a"], "rater": "B", "scores": np.ones(1), "more": {"x": [1, (2, None)]}}
    points = Points([[1, 2, 3]], "RAS", metadata=metadata)
    with pytest.warns(LossWarning, match=r"a\.mrk\.json does not hold: metadata 'scores'$"):
        assert points.write(tmp_path / "a.mrk.json") == ("metadata 'scores'",)
    assert Points.read(tmp_path / "a.mrk.json").metadata == {
        "names": ["a"],
        "rater": "B",
        "more": {"x": [1, [2, None]]},
    }
    with pytest.raises(LossError, match="'rater', metadata 'scores', metadata 'more'"):
        points.write(tmp_path / "b.csv", strict=True)
    assert not (tmp_path / "b.csv").exists()
    for wrong in (["a", "b"], "a", [1], []):
        with pytest.raises(UsageError, match="names"):
            Points([[1, 2, 3]], "RAS", metadata={"names": wrong}).write(tmp_path / "b.csv")
    boxes = BoundingBoxes([[1, 2, 3, 4, 5, 6]], RAS, metadata={"name": "all", "names": ["one"]})
    assert boxes.write(tmp_path / "c.mrk.json") == ()
    assert BoundingBoxes.read(tmp_path / "c.mrk.json").metadata == boxes.metadata


def test_nothing_written_but_the_whole(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "old")
    points = Points([[1, 2, 3]], "RAS")
    with pytest.raises(StorageError, match="already exists"):
        points.write(path, force=False)
    with pytest.raises(MedImgError):
        Points([[1, 2, 3]], "RAS", metadata={"names": ["\ud800"]}).write(path)
    assert path.read_text() == "old"
    points.write(path)
    assert os.listdir(tmp_path) == ["a.csv"] and Points.read(path) == points
    with pytest.raises(StorageError):
        points.write(tmp_path / "missing" / "a.csv")


def test_no_boxes_and_no_points(tmp_path: Path) -> None:
    for suffix in ("csv", "mrk.json", "fcsv"):
        Points(np.zeros((0, 3)), "LPS").write(tmp_path / f"a.{suffix}")
        assert Points.read(tmp_path / f"a.{suffix}") == Points(np.zeros((0, 3)), "LPS")
    for suffix in ("csv", "mrk.json"):
        BoundingBoxes(np.zeros((0, 6)), LPS).write(tmp_path / f"b.{suffix}")
        assert BoundingBoxes.read(tmp_path / f"b.{suffix}").format == LPS


# -- what is refused

WRONG_POINTS = [
    ("a.mrk.json", "", "not valid JSON"),
    ("a.mrk.json", "[" * 100000, "not valid JSON"),
    ("a.mrk.json", "[]", "no 'markups'"),
    ("a.mrk.json", '{"markups": 3}', "list of objects"),
    ("a.mrk.json", '{"markups": [3]}', "list of objects"),
    ("a.mrk.json", '{"@schema": "markups-schema-v2.0.0", "markups": []}', "version 1"),
    ("a.mrk.json", markups(), "no list of points"),
    ("a.mrk.json", markups(roi()), "no list of points"),
    ("a.mrk.json", markups(fiducials(point([1, 2]))), "3 numbers"),
    ("a.mrk.json", markups(fiducials(point([1, 2, "3"]))), "3 numbers"),
    ("a.mrk.json", markups(fiducials(point([1, 2, True]))), "3 numbers"),
    ("a.mrk.json", markups(fiducials(point([1, 2, None]))), "3 numbers"),
    ("a.mrk.json", markups(fiducials(point([1, 2, math.nan]))), "NaN is no number"),
    ("a.mrk.json", markups(fiducials(point([1, 2, math.inf]))), "Infinity is no number"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 10**400]))), "3 numbers|not valid JSON"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3]))).replace("3]", "1e999]"), "3 numbers"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3], label=3))), "label is 3"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3], label="\ud800"))), "label is"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3], positionStatus="maybe"))), "positionStatus"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3]), coordinateSystem="LAS")), "LPS or RAS"),
    ("a.mrk.json", markups(fiducials(point([1, 2, 3]), coordinateUnits="furlong")), "mm or um"),
    ("a.csv", "", "is empty"),
    ("a.csv", "b,c\n1,2\n", "columns of coordinates: none"),
    ("a.csv", "r,a\n1,2\n", "columns of coordinates"),
    ("a.csv", "r,p,s,a\n1,2,3,4\n", "columns of coordinates"),
    ("a.csv", "r,a,s\n1,2\n", "line 2: 2 cells, expected 3"),
    ("a.csv", "r,a,s\n1,2,3\n\n1,2,3,4\n", "line 4: 4 cells"),
    ("a.csv", "r,a,s,r\n1,2,3,4\n", "columns"),
    ("a.csv", "r,a,s,label,label\n1,2,3,4,5\n", "same name"),
    ("a.csv", "r,a,s\n1,2,x\n", "line 2: s is 'x', expected a number"),
    ("a.csv", "r,a,s\n1,2,1_0\n", "expected a number"),
    ("a.csv", "r,a,s\n1,2,inf\n", "expected a number"),
    ("a.csv", "r,a,s\n1,2,1e999\n", "expected a number"),
    ("a.csv", "r,a,s\n1,2,\u0663\n", "expected a number"),
    ("a.csv", 'label,r,a,s\n"x,1,2,3\n', "line 2"),
    ("a.csv", "x,y,z\n1,2,3\n", "do not say"),
    ("a.csv", "# CoordinateSystem = XYZ\nx,y,z\n1,2,3\n", "coordinate system is 'XYZ'"),
    ("a.csv", "# affine = 1 2 3\ni,j,k\n1,2,3\n", "3 numbers, expected 12"),
    ("a.csv", "r,a,s\n1,2,3\n\0", "NUL"),
    ("a.csv", b"r,a,s\n1,2,3\n\xff", "UTF-8"),
    ("a.csv", "r;a;s\n1;2;3\n", "columns of coordinates"),
    ("a.fcsv", "# columns = id,label\n1,2\n", "no columns x, y, z"),
    ("a.txt", "r,a,s\n1,2,3\n", "no format of points has this suffix; use one of .mrk.json"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "match"), WRONG_POINTS)
def test_what_are_no_points(tmp_path: Path, name: str, content: Any, match: str) -> None:
    with pytest.raises(MedImgError, match=match) as caught:
        Points.read(put(tmp_path, name, content))
    assert (
        one_line(caught.value) and str(caught.value).startswith(str(tmp_path / name)) and len(str(caught.value)) < 400
    )


WRONG_BOXES = [
    ("a.mrk.json", markups(fiducials(point([1, 2, 3]))), "no ROI"),
    ("a.mrk.json", markups(roi(insideOut=True)), "inside out"),
    ("a.mrk.json", markups(roi(size=[1, 2])), "size of ROI 1"),
    ("a.mrk.json", markups(roi(center=None)), "center of ROI 1"),
    ("a.mrk.json", markups(roi(), roi(orientation=[1] * 9)), "orientation of ROI 2 is no rotation"),
    ("a.mrk.json", markups(roi(orientation=[1] * 8)), "9 numbers"),
    ("a.mrk.json", markups(roi(label={"value": "x"})), "expected an integer"),
    ("a.mrk.json", markups(roi(label={"value": 2**70})), "expected an integer"),
    ("a.csv", "r,a,s\n1,2,3\n", "no columns of boxes"),
    ("a.csv", "r1,a1,r2,a2,s2\n1,2,3,4,5\n", "no column s1"),
    ("a.csv", "r1,a1,s1,r2,a2,p2\n1,2,3,4,5,6\n", "columns of coordinates"),
    ("a.csv", "r1,a1,s1,r2,a2,s2\n1,2,3,4,5,\n", "no place"),
    ("a.csv", "r1,a1,s1,r2,a2,s2,label\n1,2,3,4,5,6,1.5\n", "label is '1.5', expected an integer"),
    ("a.csv", "r1,a1,s1,r2,a2,s2,label\n1,2,3,4,5,6,99999999999999999999\n", "expected an integer"),
    ("a.fcsv", FCSV, "no format of boxes"),
]


@pytest.mark.parametrize(("name", "content", "match"), WRONG_BOXES)
def test_what_are_no_boxes(tmp_path: Path, name: str, content: str, match: str) -> None:
    with pytest.raises(MedImgError, match=match) as caught:
        BoundingBoxes.read(put(tmp_path, name, content))
    assert one_line(caught.value) and str(caught.value).startswith(str(tmp_path / name))


def test_missing_and_huge_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Points.read(tmp_path / "a.csv")
    with pytest.raises(StorageError):
        (tmp_path / "b.csv").mkdir()
        Points.read(tmp_path / "b.csv")
    with open(tmp_path / "huge.csv", "wb") as file:
        file.truncate(2**33)
    with pytest.raises(FormatError, match="64 MiB"):
        Points.read(tmp_path / "huge.csv")


def test_places_that_are_not_known_are_no_boxes(tmp_path: Path) -> None:
    for name in ("a.csv", "a.mrk.json"):
        with pytest.raises(UsageError, match="no place"):
            BoundingBoxes([[1, 2, 3, 4, 5, math.nan]], RAS).write(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mrk.json", "a.csv", "a.fcsv"])
def test_damaged_files_are_refused_or_read(tmp_path: Path, name: str) -> None:
    points = Points(np.arange(12).reshape(4, 3) / 7, "LPS", metadata={"names": ["a", 'b"', "c,", "d"]})
    points.write(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    chance = random.Random(name)
    for _ in range(150):
        damaged = bytearray(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(damaged) + 1)
            damaged[place : place + chance.randrange(3)] = chance.choice(
                (b"\xff", b'"', b"nan", b"\n", b"{", b"]", b"1e400", b"-")
            )
        put(tmp_path, name, bytes(damaged))
        try:
            Points.read(tmp_path / name)
        except MedImgError as error:
            assert one_line(error)
