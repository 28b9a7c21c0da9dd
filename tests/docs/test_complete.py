"""Each public name, command, option and environment variable is on a page, and links lead somewhere."""

import argparse
import ast
import importlib.util
import inspect
import re
import shlex
import subprocess
import tokenize
from pathlib import Path

import pytest
import yaml

import quantum_pulse as qp
from quantum_pulse import analysis, errors
from quantum_pulse.notebook import options as magics
from tests.docs import face
from tests.docs.offline import loaded_from_elsewhere
from tests.docs.pages import DOCS, ROOT, blocks, pages

_spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hooks)


@pytest.fixture(scope="module")
def texts():
    """What MkDocs makes of each page before it becomes HTML."""
    return {page: hooks.expanded(page.read_text(encoding="utf-8")) for page in pages()}


@pytest.fixture(scope="module")
def reference(texts):
    return "\n".join(text for page, text in texts.items() if page.parent.name == "reference")


def test_each_public_name_is_in_the_reference(reference):
    documented = set(re.findall(r"^::: quantum_pulse\.(\w+)$", reference, re.MULTILINE))
    public = {name for name in {*dir(qp), *qp.__all__} if not name.startswith("__")}
    assert public - documented - {"analysis"} == set()
    assert "`quantum_pulse.__version__`" in reference
    assert set(re.findall(r"^::: quantum_pulse\.analysis\.(\w+)$", reference, re.MULTILINE)) == set(analysis.__all__)


def test_each_class_that_the_face_returns_is_in_the_reference(reference):
    documented = {re.sub(r".*\.", "", path) for path in re.findall(r"^::: (\S+)$", reference, re.MULTILINE)}
    classes = {value.__name__ for value in face.objects().values() if inspect.isclass(value)}
    assert len(classes) > 20
    assert {name for name in classes if not name.endswith("Error")} - documented == set()


def test_each_error_is_in_the_reference(reference):
    assert "::: quantum_pulse.errors" in reference
    assert all(inspect.getdoc(one) for _, one in inspect.getmembers(errors, inspect.isclass))


def test_each_method_of_a_capture_is_in_the_reference_and_shown_in_use(texts):
    page = texts[DOCS / "reference" / "capture.md"]
    methods = {name for name, value in vars(qp.Capture).items() if not name.startswith("_") and callable(value)}
    shown = set(re.findall(r"^capture\.(\w+)\(", page, re.MULTILINE))
    assert methods == shown
    assert all(inspect.getdoc(getattr(qp.Capture, name)) for name in methods)


def test_what_the_reference_names_is_there(reference):
    for path in re.findall(r"^::: (\S+)$", reference, re.MULTILINE):
        parts = path.split(".")
        found = next(
            module
            for end in range(len(parts), 0, -1)
            if (module := _module(".".join(parts[:end]))) is not None
        )  # fmt: skip
        for name in parts[len(found.__name__.split(".")) :]:
            found = getattr(found, name)
        assert inspect.getdoc(found), f"{path} has no docstring"


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def test_each_command_and_its_options_are_on_a_page(texts):
    options = texts[DOCS / "reference" / "options.md"]
    commands = texts[DOCS / "reference" / "commands.md"]
    for parser, shown in hooks.each_parser():
        assert shown.rstrip() in commands
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction):
                continue
            for option in action.option_strings:
                assert f"`{option}" in options, f"{parser.prog} {option}"


def test_each_option_of_a_recording_and_of_an_operation_is_on_a_page(texts):
    options = texts[DOCS / "reference" / "options.md"]
    for function in (qp.start, qp.op):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:  # what is refused with the nearest name
                continue
            assert f"`{name}`" in options or f"`{name}=" in options, f"{function.__name__}({name})"


def test_each_option_of_a_magic_is_on_a_page(texts):
    shown = texts[DOCS / "reference" / "magics.md"]
    for option in magics.OPTIONS:
        assert f"`{option}" in shown, option


def test_each_environment_variable_is_on_a_page(texts):
    options = texts[DOCS / "reference" / "options.md"]
    sources = [file for suffix in ("py", "c", "h") for file in (ROOT / "quantum_pulse").rglob(f"*.{suffix}")]
    names = {
        name for file in sources for name in re.findall(r"""["'](QUANTUM_PULSE(?:_[A-Z]+)?)["']""", file.read_text())
    }
    assert len(names) >= 6
    for name in names:
        assert f"`{name}" in options, name


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "docs/explanation/failures.md"]
)
def test_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:quantum_pulse|tests|docs|sample_data)/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:core|agent|capture)/[\w/]+\.(?:py|c))`", text):
        assert (ROOT / "quantum_pulse" / path).exists(), path
    for name in re.findall(r"`(\w+\.c)`", text):
        assert (ROOT / "quantum_pulse" / "core" / "native" / name).exists(), name


def test_what_contributors_are_sent_to_is_in_those_files():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? .+?) \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) >= 10
    for wanted, where in rows:
        files = re.findall(r"`((?:quantum_pulse|tests|docs)/[\w/.]+\.\w+)`", where)
        content = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`([A-Za-z_]+)`", where):
            assert re.search(rf"\b{name}\b", content), f"{wanted}: {name} is in none of {files}"


def test_the_commands_of_make_are_there():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "docs/releases.md")]
    texts += [file.read_text(encoding="utf-8") for file in (ROOT / ".github" / "workflows").glob("*.yml")]
    named = {name for text in texts for name in re.findall(r"(?:`|run: )make (\w+)", text)}
    assert named >= {"test", "check", "docs", "wheel"}
    assert named <= targets


def _workflows():
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    shown = [block.code for block in blocks(DOCS / "how-to" / "ci.md") if block.language == "yaml"]
    assert len(files) >= 4
    assert shown
    return [*(file.read_text(encoding="utf-8") for file in files), *shown]


@pytest.mark.parametrize("text", _workflows(), ids=lambda text: text.partition("\n")[0].removeprefix("name: "))
def test_a_workflow_is_sound(text):
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "run" in step:
                subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
                _check_commands(step["run"])


def _check_commands(script):
    """Each `quantum-pulse` in a script is one that the command line understands."""
    plain = re.sub(r"\$\([^)]*\)", "x", script.replace("\\\n", " "))
    for arguments in re.findall(r"quantum-pulse (\w[^\n>|)]*)", plain):
        hooks.each_parser()[0][0].parse_args(shlex.split(arguments))


#: What the glossary lists as not used.
NOT_USED = re.compile(
    r"\b(stretch(es)?|own times?|told|untold|stands? (in|for|apart|at once|on)|[Ss]tood"
    r"|(threads?|files?|writers?|folders?|nothing) of ours|(?<!there )is none|are none of (them|these)"
    r"|had not ended|share of false|pictures?)\b"
)


def test_pages_use_the_terms_of_the_glossary(texts):
    for page, text in texts.items():
        if page.name == "glossary.md":
            continue
        prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
        found = NOT_USED.search(prose)
        assert found is None, f"{page.relative_to(DOCS)}: {found and found[0]!r}"


def test_docstrings_messages_and_comments_use_the_terms_of_the_glossary():
    files = [file for suffix in ("py", "c", "h") for file in sorted((ROOT / "quantum_pulse").rglob(f"*.{suffix}"))]
    assert len(files) > 200
    found = [
        f"{file.relative_to(ROOT)}: {text!r}"
        for file in files
        for text in (_said_in_python(file) if file.suffix == ".py" else _said_in_c(file))
        if NOT_USED.search(re.sub("`[^`]*`", "", text))
    ]
    assert found == []


def _said_in_python(file):
    """Comments, docstrings and messages."""
    with tokenize.open(file) as lines:
        yield from (one.string for one in tokenize.generate_tokens(lines.readline) if one.type == tokenize.COMMENT)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _said_in_c(file):
    source = file.read_text(encoding="utf-8")
    return [*re.findall(r"/\*.*?\*/", source, re.DOTALL), *re.findall(r'"[^"\n]*"', source)]


def _anchors(text):
    """The anchors of a page's headings, as MkDocs makes them."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = set(re.findall(r"\{[^}\n]*#([\w-]+)[^}\n]*\}", without_code))
    for heading in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        found.add(re.sub(r"[\s-]+", "-", plain))
    return found


def test_no_internal_link_is_dead(texts):
    for page, text in texts.items():
        prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.is_file(), f"{page.relative_to(DOCS)}: {target}"
            assert DOCS in file.parents, f"{page.relative_to(DOCS)}: {target} is not part of the site"
            if anchor and not anchor.startswith("quantum_pulse"):
                assert anchor in _anchors(texts[file]), f"{page.relative_to(DOCS)}: {target}"


def test_each_page_is_in_the_navigation():
    named = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert named == {str(page.relative_to(DOCS)) for page in pages()}


def test_each_picture_is_used():
    used = "\n".join(page.read_text() for page in [*pages(), ROOT / "README.md"])
    for picture in Path(DOCS / "images").iterdir():
        assert f"images/{picture.name}" in used, picture.name


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example" crossorigin>',
        '<img src="http://pictures.example/a.png">',
        "<style>@import 'https://fonts.example/css';</style>",
        "<style>@font-face { src: url(https://fonts.example/a.woff) }</style>",
    ],
)
def test_what_comes_from_another_host_is_found(html, tmp_path):
    (tmp_path / "index.html").write_text(html)
    assert len(loaded_from_elsewhere(tmp_path)) == 1
    (tmp_path / "index.html").write_text('<a href="https://elsewhere.example">a link</a><script src="a.js"></script>')
    assert loaded_from_elsewhere(tmp_path) == []
