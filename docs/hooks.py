"""Hooks of mkdocs: pages may link to files of the repository outside docs/, as they do on GitHub.

Every such file is put under `repo/` in the site, and links to it are rewritten; links from there back to docs/ are too.
A notebook becomes a page with the pictures that it holds.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "repo/"
FOLDERS = ("results", "configs", "vfi_jax/weights")
SUFFIXES = (".md", ".csv", ".png", ".py")
SINGLE = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml", ".ci/run")
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the linked files of the repository."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).iterdir()) if path.suffix in SUFFIXES]
    for path in [*paths, *(ROOT / name for name in SINGLE)]:
        name = path.relative_to(ROOT).as_posix()
        uri = PREFIX + name.removeprefix(".")
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"{path.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, name, content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Rewrites links that leave docs/, and links of the repository's files."""
    uri = page.file.src_uri
    here = posixpath.dirname(uri.removeprefix(PREFIX) if uri.startswith(PREFIX) else f"docs/{uri}")

    def rewritten(match: re.Match[str]) -> str:
        target = match[2]
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        path = {"README.md": "docs/index.md", "CONTRIBUTING.md": "docs/contributing.md"}.get(path, path)
        path = re.sub(r"^(docs/.*)\.ipynb$", r"\1.md", path)
        place = path.removeprefix("docs/") if path.startswith("docs/") else PREFIX + path.removeprefix(".")
        return f"{match[1]}{os.path.relpath(place, posixpath.dirname(uri) or '.')}{match[3] or ''}{match[4]}"

    return LINK.sub(rewritten, markdown)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name."""
    lines, pictures = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        lines.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                name = f"{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(picture))
                lines.append(f"![Output of the cell above]({name})")
            elif text := "".join(output.get("text", "")):
                lines.append(text)
    return "\n\n".join(lines) + "\n", pictures
