"""`rollouts`: parses, runs one command, and turns every ending into an exit code and a sentence."""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rollout_controller.cli import arguments
from rollout_controller.cli.exits import CommandError, Exit

ISSUES = "Please report it with the lines above; that is a fault of ours, not yours."


_OUTSIDE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR})
"""Troubles of a file system that are no fault of ours."""


class AtOnce(int):
    """The exit code of a command that has left nothing to be done at exit: no threads, no files."""


def program() -> NoReturn:
    """The process of a command line. To take down the 400 modules of a command would take a third as long as importing them."""
    code = main()
    if isinstance(code, AtOnce):
        sys.stderr.flush()  # stdout was, by main, where it can still be said that it failed
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    _open_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: the flush at exit must not fail
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except CommandError as error:
        return _say(str(error), error.code)
    except Exception as error:  # noqa: BLE001 - the last place where a fault can be explained
        return _explain(error)
    return code


def _open_streams() -> None:
    """Where we were started with closed streams (`>&-`): nobody reads, and no file of ours must get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process


def _run(argv: list[str]) -> int:
    parser = arguments.parser()
    args = parser.parse_args(argv)
    if args.program_version and args.command is None:
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write(f"rollouts {version('rollout-controller')}\n")
        return Exit.FINE
    if args.help_all or args.command is None:
        from rollout_controller.cli.help import help_text  # noqa: PLC0415

        (sys.stdout if args.help_all else sys.stderr).write(help_text())
        return Exit.FINE if args.help_all else Exit.USAGE
    return _COMMANDS[args.command](args)


def _on_documents(module: str, function: str) -> Callable[[Namespace], int]:
    """A command on the documents of an existing store; only its own module is imported."""

    def run(args: Namespace) -> int:
        import gc  # noqa: PLC0415
        from importlib import import_module  # noqa: PLC0415

        from rollout_controller.cli.session import opened  # noqa: PLC0415 - not needed for --help

        gc.disable()  # imports make no garbage, and to look for it takes a tenth of their time
        command: Callable[[Namespace, object], int] = getattr(import_module(f"rollout_controller.cli.{module}"), function)
        with opened(args) as session:
            gc.enable()
            code = command(args, session)
        return AtOnce(code)

    return run


def _apply(args: Namespace) -> int:
    from rollout_controller.cli.apply import apply  # noqa: PLC0415 - pydantic and YAML, half a second

    return apply(args)


def _elsewhere(module: str) -> Callable[[Namespace], int]:
    """`run(args) -> exit code` of a part with a second of imports, which only its own command pays."""

    def run(args: Namespace) -> int:
        from importlib import import_module  # noqa: PLC0415

        return int(import_module(module).run(args))

    return run


_COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "status": _on_documents("show", "status"),
    "list": _on_documents("show", "status"),
    "history": _on_documents("show", "history"),
    "explain": _on_documents("show", "explain"),
    "trigger": _on_documents("ask", "trigger"),
    "retry": _on_documents("ask", "retry"),
    "wait": _on_documents("waiting", "wait"),
    **dict.fromkeys(("pause", "resume", "promote", "abort"), _on_documents("ask", "command")),
    "apply": _apply,
    "simulate": _elsewhere("rollout_controller.cli.simulate"),
    "controller": _elsewhere("rollout_controller.cli.controller"),
    "lab": _elsewhere("rollout_controller.lab.command"),
    "demo": _elsewhere("rollout_controller.lab.demo"),
}


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"error: {sentence}\n")
    return code


def _explain(error: Exception) -> int:
    """What the store and the documents say is for the user; anything else is a fault of ours."""
    from rollout_controller.api.errors import InvalidDocument  # noqa: PLC0415
    from rollout_controller.cluster.store import StoreError  # noqa: PLC0415

    if isinstance(error, StoreError):
        return _say(str(error), Exit.FAILED)
    if isinstance(error, InvalidDocument):
        sys.stderr.write(f"{error}\n")
        return Exit.USAGE
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        return _say(f"{_what(error)}: {error.strerror}", Exit.FAILED)
    import traceback  # noqa: PLC0415

    traceback.print_exception(error)
    return _say(f"{type(error).__name__}: {error}\n{ISSUES}", Exit.FAILED)


def _what(error: OSError) -> str:
    """The file, or the output where none is named; what is still to be written there must not fail once more at exit."""
    if error.filename is not None:
        return str(error.filename)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return "the output cannot be written"


if __name__ == "__main__":
    program()
