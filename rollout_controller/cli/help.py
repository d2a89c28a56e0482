"""`rollouts --help`: what there is, by group, and how to begin."""

from __future__ import annotations

from rollout_controller.cli.arguments import COMMANDS, EXITS, GROUPS
from rollout_controller.cli.place import program


def help_text() -> str:
    """`rollouts --help`: what it is, the commands by group, how to begin."""
    name = program()
    begin = (
        ("demo", "see it work, on real servers, in three minutes"),
        ("trigger resnet50 --version 2 --wait", "what CI does"),
        ("status resnet50 -w", "what you do meanwhile"),
    )
    lines = [
        f"{name}: bring new Triton model versions to users without hurting them",
        "",
        f"  {name} [-n NAMESPACE] COMMAND ...",
        "",
    ]
    for group, title in GROUPS.items():
        lines += [f"{title}:", *(f"  {command.name:<11} {command.line}" for command in COMMANDS if command.group == group), ""]
    lines += [
        "Where the documents are: in the cluster of the current kubeconfig, or in a folder",
        "  -n, --namespace NS, -A, --all-namespaces, --context NAME, --kubeconfig FILE    as for kubectl",
        "  --local DIR    DIR/rollouts.db; else $ROLLOUTS_LOCAL, else ./.lab where a lab was started; else the cluster",
        "",
        "Everywhere:",
        "  --plain (no colours, no bars; NO_COLOR does the same), -h, --help, -V, --version",
        "",
        "Begin here:",
        *(f"  {f'{name} {command}':<{len(name) + 43}} {why}" for command, why in begin),
        "",
        *EXITS.splitlines(),
    ]
    return "\n".join(lines) + "\n"
