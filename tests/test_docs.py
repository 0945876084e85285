"""What README and docs promise: commands exist, links lead somewhere, Python runs."""

import re
import shlex
from pathlib import Path

import pytest
import tiny_model
from PIL import Image

import gaussiansr_jax as gsr
from gaussiansr_jax import __main__
from gaussiansr_jax.training.config import default_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The fenced blocks of a page in a language; the plain ones are commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind in language]


def commands(page):
    """The command lines of a page, as lists of words."""
    for block in blocks(page, ("", "sh", "bash", "shell")):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(\w+=\S+ )*(python3?|gaussiansr|make) ", line):
                # Brackets mark what may be left out.
                words = shlex.split(re.sub(r"[\[\]]", "", line), comments=True)
                yield [word for word in words if not re.match(r"[A-Z_]+=", word)]


ALL = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


def test_there_are_commands():
    assert len(ALL) > 10


@pytest.mark.parametrize("words", ALL)
def test_commands_are_understood(words, capsys):
    match words:
        case ["make", *targets]:
            rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(targets) <= set(rules)
        case ["gaussiansr", "train", *rest]:
            text = (ROOT / "gaussiansr_jax/commands/train.py").read_text()
            for word in rest:
                check_option(word, text)
        case ["gaussiansr", *rest] | ["python" | "python3", "-m", "gaussiansr_jax", *rest]:
            parses(lambda: __main__.parse(rest), capsys)
        case ["python" | "python3", "eval.py", *rest]:
            parses(lambda: __main__.parse(["eval", *rest]), capsys)
        case ["python" | "python3", script, *rest] if script.endswith(".py"):
            command = {"train.py": "gaussiansr_jax/commands/train.py"}
            text = (ROOT / command.get(script, script)).read_text()
            for word in rest:
                check_option(word, text)
        case _:
            raise AssertionError(f"not a command of this project: {words}")


def parses(parse, capsys):
    try:
        parse()
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err


def check_option(word, text):
    """An option is declared in the script, or a setting of training, or a config that exists."""
    if word.startswith("--config."):
        name = word.removeprefix("--config.").split("=")[0]
        setting = default_config().to_dict()
        for part in name.split("."):
            assert part in setting, word
            setting = setting[part]
    elif word.startswith("--"):
        name = word.split("=")[0]
        declared = re.findall(r"[\"'](--[\w-]+)[\"']|DEFINE_\w+\(\s*[\"']([\w-]+)[\"']", text)
        assert name in {"--config", *(a or f"--{b}" for a, b in declared)}, word
    elif word.startswith("configs/"):
        assert (ROOT / word.partition(":")[0]).is_file() or "NAME" in word, word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_python_of_the_readme_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(tiny_model.photo(20, 24)).save("photo.jpg")
    shown = "\n".join(blocks(ROOT / "README.md", ("python",)))
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    monkeypatch.setattr(gsr, "load", lambda *_: upscaler, raising=False)
    names = {}
    exec(compile(shown, "README.md", "exec"), names)
    assert names["large"].shape == (74, 89, 3)
    assert [view.shape[0] for view in names["views"]] == [40, 80, 160]
    assert names["rgb"].shape == (1, 3)
