"""The command line: every option, and help that teaches by examples. One table, COMMANDS, is what there is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rollout_controller.cli import values
from rollout_controller.cli.place import program

EXITS = """Exit codes: 0 succeeded or fine, 1 failed, 2 usage, 3 rolled back or aborted, 4 timed out, 5 paused,
130 interrupted."""
GROUPS = {
    "see": "See what is going on",
    "ask": "Bring a version in",
    "steer": "Steer an attempt",
    "write": "Write documents",
    "try": "Try before you trust it",
    "run": "Run it",
}


@dataclass(frozen=True)
class Command:
    """One subcommand: its group, one line, what more there is to say, examples, and its options."""

    name: str
    group: str
    line: str
    more: str
    examples: tuple[str, ...]
    options: Callable[[argparse.ArgumentParser], None]


class Parser(argparse.ArgumentParser):
    """Says one sentence on a mistake instead of the whole usage."""

    _is_mixed = False

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_plainer(message)}\nSee {self.prog} --help\n")

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Options anywhere among a command's words: before 3.12 argparse takes no `DIR` in `lab up --with-receiver DIR`."""
        if self._is_mixed or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._is_mixed = True  # what is called now calls this again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_mixed = False


def _plainer(message: str) -> str:
    if message.startswith("unrecognized arguments: -"):
        return message + values.meant(message.split()[2], _options())
    if "invalid choice" not in message or "argument COMMAND" not in message:
        return message
    import difflib  # noqa: PLC0415 - only a mistyped command needs it

    given = message.split("'")[1]
    close = difflib.get_close_matches(given, [command.name for command in COMMANDS], n=1)
    return f"there is no command {given!r}" + (f"; there is {close[0]!r}" if close else "")


def _options() -> set[str]:
    subs = [sub for action in parser()._actions if isinstance(action.choices, dict) for sub in action.choices.values()]  # noqa: SLF001
    return {option for sub in subs for option in sub._option_string_actions if option.startswith("--")}  # noqa: SLF001


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the TritonRollout: NAME or NAMESPACE/NAME")


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the TritonRollout; left out: all of them")
    _output(parser, ("json", "yaml", "wide", "raw"), "; raw: the document as it is stored")
    parser.add_argument(
        "-w", "--watch", action="store_true", help="stay and follow: drawn in place, or one line a change in a pipe"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="with NAME: exit 1, 3 or 5 when it has failed, rolled back, paused"
    )
    parser.set_defaults(many=False)


def _list(parser: argparse.ArgumentParser) -> None:
    _output(parser, ("json", "yaml", "wide", "raw"), "; raw: the documents as they are stored")
    parser.add_argument("-w", "--watch", action="store_true", help="stay and follow")
    parser.set_defaults(name=None, many=True, exit_code=False)


def _history(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _output(parser, ("json", "yaml", "html"), "; html: a page of one attempt, to be attached to a ticket")
    parser.add_argument(
        "--attempt",
        type=values.between(1, None, "an attempt's number"),
        metavar="N",
        help="html: this attempt (default: the newest)",
    )
    parser.add_argument("--to", metavar="FILE", help="html: write it to FILE (default: standard output)")
    parser.add_argument("--prometheus", metavar="URL", help="html: where its graphs come from (default: that of local.yaml)")
    parser.add_argument("--prometheus-token-file", metavar="FILE", help="html: a file with a bearer token for it")
    _sources(parser)


def _explain(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--events",
        type=values.between(0, None, "a number of events"),
        default=20,
        metavar="N",
        help="at most N events (default 20)",
    )


def _output(parser: argparse.ArgumentParser, choices: tuple[str, ...], more: str) -> None:
    parser.add_argument("-o", "--output", choices=choices, metavar="FORM", help=f"another form: {', '.join(choices)}{more}")


def _answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="do not wait until a controller has taken it up")
    parser.add_argument(
        "--answer-within", type=values.seconds, default=10.0, metavar="TIME", help="how long to wait for that (default 10s)"
    )


def _end(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=values.seconds, default=3600.0, metavar="TIME", help="wait at most so long (default 1h)"
    )
    parser.add_argument("--through-pause", action="store_true", help="go on waiting while it is paused, instead of exit 5")


def _trigger(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--version", required=True, metavar="V", help="the version that users shall get")
    parser.add_argument("--again", action="store_true", help="also when this version was asked for last: try it once more")
    parser.add_argument("--request", metavar="ID", help="your id for this ask, such as the CI run (default: a fresh one)")
    parser.add_argument(
        "--wait", action="store_true", help="wait for the end: 0 promoted, 3 rolled back or aborted, 1 failed, ..."
    )
    _end(parser)
    _answer(parser)


def _retry(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the end")
    _end(parser)
    _answer(parser)


def _wait(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--request", metavar="ID", help="the ask to wait for (default: the present one)")
    _end(parser)


def _steer(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _answer(parser)


def _promote(parser: argparse.ArgumentParser) -> None:
    _steer(parser)
    parser.add_argument("--full", action="store_true", help="all the way: no further step waits")


def _sources(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--sources", metavar="DIR", help="SLI sources of your own (docs/sources.md; default: local.yaml's)")


def _apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", action="append", required=True, nargs="+", metavar="FILE", help="YAML; - is stdin")
    parser.add_argument("--dry-run", action="store_true", help="check and say what would happen, write nothing")
    _sources(parser)


def _controller(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="run on a cluster, with this configuration (docs/kubernetes.md)")
    parser.add_argument(
        "--namespaces", metavar="NS,NS", help="on a cluster: only these (default: those of the configuration, else all)"
    )
    parser.add_argument("--log-format", choices=("console", "json"), help="default: console on a terminal, else json")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--metrics-port",
        type=values.between(0, 65535, "a port"),
        metavar="PORT",
        help="for /metrics, /healthz, /readyz; 0 takes a free one",
    )


def _simulate(parser: argparse.ArgumentParser) -> None:
    world, run = parser.add_argument_group("the world"), parser.add_argument_group("the simulation")
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="the RolloutPolicy; - is stdin")
    world.add_argument("--rps", type=values.positive, metavar="N", help="requests a second of the whole service")
    world.add_argument("--errors", metavar="PERCENT", help="error rate of a healthy version (default 0.5%%)")
    world.add_argument("--p95", metavar="TIME", help="p95 of a healthy version (default 80ms)")
    world.add_argument("--scrape", metavar="TIME", help="scrape interval (default 15s)")
    world.add_argument("--batch", type=values.whole, metavar="N", help="requests that fail together (default 1)")
    world.add_argument(
        "--hiccups", action="append", metavar="LEN/EVERY[/PODS]", help="each of a version's PODS is dead for LEN each EVERY"
    )
    world.add_argument("--world", metavar="FILE", help="all of it and more as YAML (docs/simulate.md); options go before")
    run.add_argument(
        "--harm", action="append", metavar="HARM", help="a version that hurts; again for another one (default: three usual ones)"
    )
    run.add_argument("--insist", action="store_true", help="begin although stable misses its objective (a person says promote)")
    run.add_argument("--attempts", type=values.whole, metavar="N", help="of each version that hurts, however long it takes")
    run.add_argument(
        "--time", type=values.seconds, metavar="TIME", help="begin none after so long (default 20s without --attempts)"
    )
    run.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other fates (default 1)")
    run.add_argument("--processes", type=values.whole, default=0, metavar="N", help="default: one a core; changes no result")
    _sources(run)
    run.add_argument("--picture", metavar="FILE.svg", help="draw weights and times, too")
    _output(parser, ("json", "yaml"), "")


def _lab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("directory", nargs="?", default=".lab", metavar="DIR", help="default .lab")
    parser.add_argument("--rps", type=values.load, default=40.0, metavar="N", help="up: requests a second (default 40)")
    parser.add_argument(
        "--detach", action=argparse.BooleanOptionalAction, default=True, help="up: leave it running and return (default)"
    )
    parser.add_argument(
        "--with-receiver",
        action="store_true",
        help="up: with alerts; what would go to Slack is written to DIR/messages.jsonl (--no-detach: shown, too)",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", default=".lab", metavar="DIR", help="default .lab")
    parser.add_argument("--rps", type=values.load, metavar="N", help="requests a second")
    parser.add_argument("--keep", action="store_true", help="leave the lab running at the end")


_ECHO = "Done when a controller has echoed it; the sentence it answers with is printed."

COMMANDS: tuple[Command, ...] = (
    Command(
        "status",
        "see",
        "state, why, what next: of one rollout, or one line for each",
        "JSON and YAML have the same facts, with units in the names: shares are 0 to 1 (_share), percent of traffic 0 to 100\n"
        "(_percent), seconds (_s), times RFC 3339 (_at).",
        ("status", "status resnet50 -w", "status resnet50 -o json", "status resnet50 --exit-code"),
        _status,
    ),
    Command("list", "see", "one line a rollout, those that need a person first", "", ("list", "list -o json"), _list),
    Command("explain", "see", "all that is known about one, and what was told so far", "", ("explain resnet50",), _explain),
    Command(
        "history",
        "see",
        "the last ten attempts",
        "",
        ("history resnet50", "history resnet50 -o json", "history resnet50 -o html --attempt 7 --to attempt.html"),
        _history,
    ),
    Command(
        "trigger",
        "ask",
        "ask for a version, as CI does",
        "The version asked for last is not tried again unless you say --again, or give a --request id of your own that is new.",
        (
            "trigger resnet50 --version 2",
            "trigger resnet50 --version 2 --request run-8841 --wait --timeout 45m",
            "trigger resnet50 --version 2 --again",
        ),
        _trigger,
    ),
    Command(
        "wait",
        "ask",
        "wait for the end of an ask",
        "Never answers with the result of an earlier attempt: only a status that echoes version and request counts.\n"
        "Ctrl-C ends the waiting, not the rollout.",
        ("wait resnet50", "wait resnet50 --request run-8841 --timeout 45m"),
        _wait,
    ),
    Command("retry", "ask", "the same version once more", "", ("retry resnet50 --wait",), _retry),
    Command("pause", "steer", "keep the traffic where it is", _ECHO, ("pause resnet50",), _steer),
    Command("resume", "steer", "go on after a pause", _ECHO, ("resume resnet50",), _steer),
    Command("promote", "steer", "go on to the next step now", _ECHO, ("promote resnet50", "promote resnet50 --full"), _promote),
    Command("abort", "steer", "all traffic back to stable, now", _ECHO, ("abort resnet50",), _steer),
    Command(
        "apply",
        "write",
        "create or update documents from files",
        "All faults are shown at once, each with its line. Annotations that the file does not have are kept.",
        ("apply -f policy.yaml rollout.yaml", "cat rollout.yaml | {} apply -f -"),
        _apply,
    ),
    Command(
        "simulate",
        "try",
        "what a policy will do for you: hundreds of attempts in a made world",
        "Plays an identical version and versions that hurt, by the controller's own decisions, on a virtual clock: how often\n"
        "the first is rolled back (price), how often and how soon the others are (gain), and what users meet meanwhile.\n"
        "HARM: errors=5%, p95=120ms, outage, hang=50%, gpu=95%; with from=50% (a weight) or after=10m behind a comma.",
        (
            "simulate -f policies/balanced.yaml --rps 3",
            "simulate -f policies/balanced.yaml --rps 3 --errors 0.5% --harm errors=5% --harm p95=120ms",
            "simulate -f policies/fast.yaml --rps 200 --scrape 5s --hiccups 20s/20m/4 --harm outage,from=50%",
            "simulate -f my.yaml --world world.yaml --attempts 5000 --seed 2 --picture out.svg",
            "simulate -f my.yaml --rps 0.2 -o json",
        ),
        _simulate,
    ),
    Command(
        "controller",
        "run",
        "the controller itself",
        "On a folder (--local DIR), or with --config FILE on a cluster: that of --kubeconfig and --context, in a pod its own.",
        ("--local .lab controller", "controller --config config.yaml --context staging --namespaces vision,text"),
        _controller,
    ),
    Command(
        "lab",
        "run",
        "real Triton, Envoy and Prometheus on this machine",
        "",
        ("lab up", "lab status", "lab down"),
        _lab,
    ),
    Command("demo", "run", "four versions of a model, one of them good", "", ("demo", "demo --keep"), _demo),
)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    shared = Parser(add_help=False)
    _common(shared, argparse.SUPPRESS)
    name = program()
    top = Parser(prog=name, usage=argparse.SUPPRESS, add_help=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    _common(top, None)
    top.add_argument("-h", "--help", action="store_true", dest="help_all")
    top.add_argument("-V", "--version", action="store_true", dest="program_version")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser, prog=name)
    for command in COMMANDS:
        sub = subparsers.add_parser(
            command.name,
            parents=[shared],
            description=f"{command.line[:1].upper()}{command.line[1:]}.\n\n{command.more}".rstrip(),
            epilog=_examples(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.options(sub)
    return top


def _common(parser: argparse.ArgumentParser, default: str | None) -> None:
    group = parser.add_argument_group("everywhere")
    group.add_argument("-n", "--namespace", metavar="NS", default=default, help="this namespace (default: the context's)")
    group.add_argument("-A", "--all-namespaces", action="store_true", default=default or False, help="every namespace")
    group.add_argument("--context", metavar="NAME", default=default, help="this context of the kubeconfig")
    group.add_argument("--kubeconfig", metavar="FILE", default=default, help="this kubeconfig (default: $KUBECONFIG)")
    group.add_argument("--local", metavar="DIR", default=default, help="documents in DIR/rollouts.db, no cluster")
    group.add_argument("--plain", action="store_true", default=default or False, help="no colours, no bars")


def _examples(command: Command) -> str:
    lines = [example.format(program()) if "{}" in example else f"{program()} {example}" for example in command.examples]
    return "examples:\n" + "\n".join(f"  {line}" for line in lines) + f"\n\n{EXITS}"
