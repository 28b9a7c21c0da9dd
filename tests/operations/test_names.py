"""Names of operations through a whole recording: of any script, many of them, and more than once."""

import contextlib
import subprocess
import sys

import quantum_pulse as qp
from tests.operations.conftest import samples


def test_unicode_everywhere(recorder):
    category = qp.Category("Категория \"x\"\n'y'", 'В "кавычках"\n\t🚀', "hsl(10 50% 50%)")
    description = "emoji 🐍, quotes \" ' `, a line\nbreak, \\ and <b>&amp;</b> \x00"
    world = qp.Operation(
        "Мир",
        {
            "Привет": qp.op(description, category=category),
            "数据": qp.op("数据处理", category="数据 / 🗄️"),
            "ÑANDÚ": qp.op(category=""),
        },
    )

    class Ошибка(Exception):  # noqa: N818 - the name is what is tested
        pass

    for member in world:
        with contextlib.suppress(Ошибка), member:
            raise Ошибка
    found = samples(recorder)
    assert list(found["operation"]) == ["Мир.Привет", "Мир.数据", "Мир.ÑANDÚ"]
    assert list(found["category"]) == [category.name, "数据 / 🗄️", ""]
    assert set(found["error"]) == {"Ошибка"}
    capture = qp.open(recorder.path)
    assert capture.categories[category.name] == category
    assert set(capture.stats().index) == set(zip(found["category"], found["operation"], strict=True))
    assert len(capture.samples(world["数据"])) == 1
    definition = next(d for d in capture._source.definitions() if d["name"] == "Мир.Привет")
    assert definition["description"] == description


SURROGATES = """
import sys
import quantum_pulse as qp

class Files(qp.Operation):
    READ = qp.op("caf\\udce9", category="caf\\udce9")
    OTHER = qp.op()

with qp.record(sys.argv[1]) as recorder:
    with Files.READ, Files.OTHER:
        pass
"""


def test_text_that_is_not_unicode_does_not_end_the_recording(tmp_path):
    """A name from the file system may hold surrogates, which UTF-8 cannot; no sample must suffer from that."""
    # In a process of its own: such a definition stays known, and would go into all recordings after it.
    command = [sys.executable, "-W", "ignore", "-c", SURROGATES, str(tmp_path / "capture")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found = qp.open(tmp_path / "capture").samples()
    assert list(found["operation"]) == ["Files.READ", "Files.OTHER"]


def test_a_class_defined_again_unchanged_keeps_its_number():
    def define():
        class Again(qp.Operation):
            STEP = qp.op("Same", category="One", priority=2)

        return Again.STEP

    first, second = define(), define()
    assert first is not second
    assert first.probe_id == second.probe_id


def test_a_class_defined_again_during_a_recording(recorder):
    def define(category, description):
        return qp.Operation("Cell", {"STEP": qp.op(description, category=category)}, module=__name__).STEP

    first = define("Old", "as it was")
    with first:
        pass
    with define("Old", "as it was"):  # unchanged
        pass
    with define("New", "as it is"):
        pass
    with first:  # whoever still holds the old member
        pass
    found = samples(recorder)
    assert list(found["operation"]) == ["Cell.STEP"] * 4
    assert list(found["category"]) == ["Old", "Old", "New", "Old"]
    stats = qp.open(recorder.path).stats()
    assert stats["count"].to_dict() == {("Old", "Cell.STEP"): 3, ("New", "Cell.STEP"): 1}


def test_two_classes_of_one_name_in_two_modules(recorder):
    one = qp.Operation("SameName", {"STEP": qp.op("one")}, module="package.one")
    two = qp.Operation("SameName", {"STEP": qp.op("two")}, module="package.two")
    with one.STEP:
        pass
    for _ in range(2):
        with two.STEP:
            pass
    names = list(samples(recorder)["operation"])
    assert names == ["SameName.STEP", "package.two.SameName.STEP", "package.two.SameName.STEP"]
    capture = qp.open(recorder.path)
    assert (len(capture.samples(one)), len(capture.samples(two))) == (1, 2)


def test_a_thousand_members(recorder):
    many = qp.Operation("Many", {f"MEMBER_{number}": qp.op(str(number)) for number in range(1000)})
    for member in many:
        with member:
            pass
    for member in reversed(many):
        member(len)(())
    expected = [str(member) for member in many]
    assert list(samples(recorder)["operation"]) == expected + expected[::-1]
    assert qp.open(recorder.path).stats()["count"].tolist() == [2] * 1000
