"""What stands at the end of each `--help`: command lines that can be typed as they are."""

import click

EXAMPLES: dict[str, tuple[str, ...]] = {
    "status": ("taly status --watch", "taly status --json"),
    "releases": ("taly releases --all",),
    "plan": (
        "taly plan",
        "taly plan --to R3 --skip payments",
        "taly plan --to -2h -o back.json   # then: taly rollback back.json",
    ),
    "rollback": (
        "taly rollback",
        "taly rollback --to R3 --only backend --only booking",
        "taly rollback --to R3 --database keep",
        "taly rollback --yes --json        # in a script",
    ),
    "undo": ("taly undo run-1s0d9w",),
    "unfreeze": ("taly unfreeze",),
    "runs": ("taly runs --limit 5",),
    "show": ("taly show run-1s0d9w",),
    "follow": ("taly follow run-1s0d9w",),
    "resume": ("taly resume run-1s0d9w", "taly resume run-1s0d9w --remote"),
    "cancel": ("taly cancel run-1s0d9w",),
    "report": ("taly report run-1s0d9w", "taly report run-1s0d9w -o incident.html"),
    "metrics": ("taly metrics", "taly metrics --format prometheus > taly.prom"),
    "checkpoint list": ("taly checkpoint list",),
    "checkpoint verify": ("taly checkpoint verify v7-20261123T134500Z",),
    "checkpoint prune": ("taly checkpoint prune --keep 5",),
    "database status": ("taly database status",),
    "database verdict": ("taly database verdict --to R3 --prove",),
    "database diff": ("taly database diff v7-20261123T134500Z",),
    "rescue list": ("taly rescue list",),
    "rescue show": ("taly rescue show run-1s0d9w --table bookings --limit 20",),
    "rescue replay": (
        "taly rescue replay run-1s0d9w --dry-run",
        "taly rescue replay run-1s0d9w --into STAGING_URL",
    ),
    "forget": ("taly forget run-1s0d9w",),
    "init": ("taly init", "taly init ../shop --stage production --no-input"),
    "permissions": ("taly permissions", "taly permissions --format iam --only read"),
    "record": ("taly record --commit f6d00fc --label v41",),
    "mark": ("taly mark R4 bad --why 'double charges on renewal'",),
    "worker": ("taly worker --store postgresql://taly@db.example/taly",),
    "workers": ("taly workers",),
    "audit verify": ("taly audit verify", "taly audit verify --file audit.jsonl"),
    "audit head": ("taly audit head",),
    "audit export": ("taly audit export --since 2026-11-01 > november.jsonl",),
    "demo": ("taly demo",),
    "sandbox up": ("taly sandbox up --detach", "taly sandbox up --scenario ./monday.toml"),
    "sandbox down": ("taly sandbox down",),
    "sandbox push": ("taly sandbox push fd7a5211 --outcome broken",),
    "sandbox writers": ("taly sandbox writers", "taly sandbox writers --count 8"),
    "sandbox restart": ("taly sandbox restart vercel --seconds 5",),
    "sandbox env": ("taly sandbox env",),
    "sandbox status": ("taly sandbox status",),
    "sandbox scenarios": ("taly sandbox scenarios",),
    "sandbox schema": ("taly sandbox schema > scenario.schema.json",),
}
"""Command → lines; a group of commands has those of its commands."""


def with_examples(command: click.Command, path: str) -> click.Command:
    """The command, its help ended by its examples; so are those of a group's commands."""
    if path in EXAMPLES and command.epilog is None:
        command.epilog = "\b\nFor example:\n" + "\n".join(f"  {one}" for one in EXAMPLES[path])
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            with_examples(child, f"{path} {name}")
    return command
