#!/usr/bin/env python
"""Make what is derived from the code: man pages, shell completions, the README's command table, the page of rules.

``python scripts/generate_docs.py`` writes them, ``--check`` says which are stale and exits with 1 (0: all are fresh).
Everything comes from the table of commands and the help of each, through one small adapter from Typer to argparse,
which argparse-manpage and shtab read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import shtab
from argparse_manpage.manpage import Manpage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medimg_cli import __version__
from medimg_cli.cli.app import COMMANDS, Command, build, group, heading, is_argument

BEGIN, END = "<!-- commands: generated -->", "<!-- end of commands -->"

EXIT_STATUS = (
    ("0", "Done."),
    ("1", "A finding, a difference or a mismatch, where a command looks for one."),
    ("2", "Wrong usage, or an input that failed; the others were still worked on."),
    ("130, 143", "Interrupted by Ctrl-C; ended by SIGTERM. No partial output is left."),
)
ENVIRONMENT = (
    ("NO_COLOR", "Set to anything: no colour."),
    ("FORCE_COLOR", "Set to anything: colour also where the output is no terminal."),
)


# -- Typer -> argparse ----------------------------------------------------------------------------------------------


def argparse_of(command: Any, prog: str, *, description: str = "") -> argparse.ArgumentParser:
    """Describe one Typer command as an argparse parser that nobody ever runs.

    Parameters
    ----------
    command : Typer's command object
    prog : str
        What its man page is called.
    description : str
        Text above the options.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    context = command.make_context(prog, [], resilient_parsing=True)
    groups: dict[str, Any] = {}
    for parameter in command.get_params(context):
        title = heading(parameter)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], parameter, context)
    return parser


def _add(target: Any, parameter: Any, context: Any) -> None:
    """Add one parameter, with what shells may complete for it."""
    settings: dict[str, Any] = {"help": _help(parameter).replace("%", "%%")}
    if is_argument(parameter):
        settings["metavar"] = parameter.metavar
        settings["nargs"] = "+" if parameter.nargs == -1 else None
        action = target.add_argument(parameter.name, **settings)
    elif parameter.is_flag or "--help" in parameter.opts:
        target.add_argument(*_spelled(parameter), action="store_true", **settings)
        return
    else:
        choices = getattr(parameter.type, "choices", None)
        settings["metavar"] = parameter.metavar or ("|".join(choices) if choices else parameter.name.upper())
        settings["action"] = "append" if parameter.multiple else "store"
        action = target.add_argument(*_spelled(parameter), **settings)
        values = choices or [item.value for item in parameter.shell_complete(context, "")]
        action.choices = list(values) or None
    files = {"DIR": shtab.DIRECTORY}.get(action.metavar, shtab.FILE if _names_file(action.metavar) else None)
    if files is not None:
        action.complete = files


def _spelled(parameter: Any) -> list[str]:
    """Return the words of an option, short ones first."""
    return sorted([*parameter.opts, *parameter.secondary_opts], key=len)


def _names_file(metavar: str) -> bool:
    return any(word.strip(".") in ("PATH", "IN", "OUT", "FILE", "REF") for word in metavar.split())


def _help(parameter: Any) -> str:
    text = parameter.help or ""
    shown = parameter.default if getattr(parameter, "show_default", False) and not is_argument(parameter) else None
    return text if shown in (None, False, "") else f"{text} Default: {shown}."


# -- man pages ------------------------------------------------------------------------------------------------------


def _roff(text: str) -> str:
    """Escape text for roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.splitlines())


def _definitions(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n\\fB{_roff(term)}\\fR\n{_roff(text)}" for term, text in rows)


def _split_help(text: str) -> tuple[str, str, str]:
    """Split a command's help into its first paragraph, further prose (a line each), and the lines of its examples."""
    blocks = text.replace("\b\n", "").split("\n\n")
    examples = [block for block in blocks if block.startswith(" ")]
    prose = [" ".join(block.split()) for block in blocks if not block.startswith(" ") and block != "Examples:"]
    lines = [line.strip() for block in examples for line in block.splitlines()]
    return prose[0], "\n\n".join(prose[1:]), "\n".join(lines)


def _page(parser: argparse.ArgumentParser, summary: str, sections: Mapping[str, str]) -> str:
    page = Manpage(parser)
    page.description = summary[0].lower() + summary[1:].rstrip(".")
    page.date, page.source, page.manual = "", f"medimg {__version__}", "medimg manual"
    for title, content in sections.items():
        if content:
            page.add_section(title, "=", content)
    return str(page)


def command_page(row: Command) -> str:
    """Return the man page of one command."""
    command = build(row)
    first, prose, examples = _split_help(command.help)
    parser = argparse_of(command, f"medimg-{row.name}", description=f"{first}\n\n{prose}".strip())
    words = " ".join(f"\\fI{_roff(p.metavar)}\\fR" for p in command.params if is_argument(p))
    return _page(
        parser,
        row.help,
        {
            "synopsis": f"\\fBmedimg {_roff(row.name)}\\fR [\\fIoptions\\fR] {words}".rstrip(),
            "examples": f".nf\n{_roff(examples)}\n.fi" if examples else "",
            "exit status": _definitions(EXIT_STATUS),
            "see also": "\\fBmedimg\\fR(1)",
        },
    )


def overview_page() -> str:
    """Return the man page of medimg itself."""
    root = group()
    parser = argparse_of(root, "medimg", description=root.help)
    commands = _definitions((f"medimg-{row.name}(1)", row.help) for row in COMMANDS)
    return _page(
        parser,
        "look at and convert medical images, losing nothing in silence",
        {
            "synopsis": "\\fBmedimg\\fR [\\fIoptions\\fR] \\fIcommand\\fR ...",
            "commands": commands,
            "exit status": _definitions(EXIT_STATUS),
            "environment": _definitions(ENVIRONMENT),
            "see also": ", ".join(f"\\fBmedimg\\-{_roff(row.name)}\\fR(1)" for row in COMMANDS),
        },
    )


# -- completions and README -----------------------------------------------------------------------------------------


def completion(shell: str) -> str:
    """Return the completion script of one shell."""
    parser = argparse_of(group(), "medimg")
    commands = parser.add_subparsers(dest="command")
    for row in COMMANDS:
        one = argparse_of(build(row), f"medimg {row.name}", description=row.help)
        commands.add_parser(row.name, help=row.help, parents=[one], add_help=False, description=row.help)
    script = "\n".join(line.rstrip() for line in shtab.complete(parser, shell).splitlines()) + "\n"
    for theirs, ours in _ZSH.items() if shell == "zsh" else ():
        if theirs not in script:
            raise RuntimeError(f"shtab's script has changed: no {theirs!r}")
        script = script.replace(theirs, ours)
    return script


_ZSH = {
    "if [[ $zsh_eval_context[-1] == eval ]]; then\n": "if [[ $zsh_eval_context[-1] == (eval|file|filecode) ]]; then\n"
    "  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }\n",
    '"(*):': '"*:',
}
"""What shtab's zsh script lacks: being sourced, also before compinit; completing the second of many paths."""


def command_table() -> str:
    """Return the README's table of commands."""
    rows = "\n".join(f"| `medimg {row.name}` | {row.help} |" for row in COMMANDS)
    return f"{BEGIN}\n| command | does |\n|---|---|\n{rows}\n{END}"


# -- rules of check -------------------------------------------------------------------------------------------------

_RULES_HEAD = """# Rules

<!-- generated from the tables in medimg_cli/checks by `make docs` -->

Every finding of `medimg check` has the code of a rule: the letter of its group and a number. `medimg check --explain
H001` prints what stands here. Severities and limits are those without a configuration.
"""


def rules_page() -> str:
    """Return the page of all rules of ``medimg check``."""
    from medimg_cli.checks.limits import LIMITS
    from medimg_cli.checks.rules import GROUPS

    parts = [_RULES_HEAD]
    for row in GROUPS:
        parts.append(f"## {row.letter}: {row.title}\n")
        parts.append("| code | name | severity | reads | it holds that |\n|---|---|---|---|---|")
        for rule in row.rules:
            off = "" if rule.on else ", off"
            link = f"[{rule.code}](#{rule.code.lower()}-{rule.name})"
            parts.append(f"| {link} | {rule.name} | {rule.severity}{off} | {rule.reads} | {_cell(rule.says)} |")
        parts.append("")
        for rule in row.rules:
            parts.append(f"### {rule.code} {rule.name}\n\n{rule.says}\n\n{rule.why}\n")
            parts.append(f"*Example*: {rule.example}\n\n*Remedy*: {rule.remedy}\n")
            if rule.mend is not None:
                parts.append("`--fix` mends it.\n")
    parts.append("## Limits\n\nNumbers that rules compare with; `[check.limits]` of a configuration changes them.\n")
    parts.append("| limit | value | what it is |\n|---|---|---|")
    parts += [f"| `{limit.name}` | {limit.value:g} | {_cell(limit.says)} |" for limit in LIMITS]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + command_table() + tail


def documents() -> Iterator[tuple[Path, str]]:
    """Yield every generated file and its content."""
    yield ROOT / "man" / "medimg.1", overview_page()
    for row in COMMANDS:
        yield ROOT / "man" / f"medimg-{row.name}.1", command_page(row)
    yield ROOT / "completions" / "medimg.bash", completion("bash")
    yield ROOT / "completions" / "_medimg", completion("zsh")
    yield ROOT / "completions" / "medimg.fish", completion("fish")
    yield ROOT / "README.md", _readme()
    yield ROOT / "docs" / "rules.md", rules_page()


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """Return the files that differ from what they should be, and those that should not be."""
    here = {path for folder in ("man", "completions") for path in (ROOT / folder).glob("*") if path.is_file()}
    old = [p for p, text in wanted.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    return old + sorted(here - set(wanted))


def main(arguments: list[str] | None = None) -> int:
    """Write or check all generated files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    check = parser.parse_args(arguments).check
    wanted = dict(documents())
    changed = stale(wanted)
    for path in changed:
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8") if path in wanted else path.unlink()
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    if check and changed:
        print("run: make docs")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
