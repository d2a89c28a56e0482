"""Colours and type, once for the page and once for the picture: by day and by night, without any file from elsewhere."""

from __future__ import annotations

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

DAY = {
    "paper": "#ffffff",
    "raised": "#f7f8fa",
    "ink": "#1b2230",
    "soft": "#5d6778",
    "faint": "#8a93a3",
    "rule": "#e3e7ed",
    "canary": "#d9730d",
    "stable": "#2f6f9f",
    "good": "#1a7f4b",
    "bad": "#c4314b",
    "warn": "#96690a",
    "plain": "#5d6778",
    "v0": "#9fb6cc",
    "v1": "#6cab8b",
    "v2": "#e3a08a",
    "v3": "#c79bc9",
    "v4": "#dcbf6a",
    "v5": "#86c0c6",
}
NIGHT = {
    "paper": "#10141b",
    "raised": "#171d27",
    "ink": "#e6eaf1",
    "soft": "#a3adbd",
    "faint": "#77818f",
    "rule": "#2a323f",
    "canary": "#f39a4a",
    "stable": "#6fb1e0",
    "good": "#4cc38a",
    "bad": "#ff7a8e",
    "warn": "#e0b04a",
    "plain": "#a3adbd",
    "v0": "#47607a",
    "v1": "#35765a",
    "v2": "#94523f",
    "v3": "#77507c",
    "v4": "#85702f",
    "v5": "#39777e",
}
VERSION_COLOURS = 6


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def colours(scope: str) -> str:
    """The colours as CSS variables on `scope`, by day and by night."""
    return f"{scope}{{{_variables(DAY)}}}@media(prefers-color-scheme:dark){{{scope}{{{_variables(NIGHT)}}}}}"


CHART = (
    "text{font-family:" + FONT + ";fill:var(--soft);font-size:12px}"
    ".title{fill:var(--ink);font-weight:600;font-size:13px}.big{fill:var(--ink);font-weight:650;font-size:17px}"
    ".small{font-size:11px}.tick{fill:var(--faint);font-size:11px;font-variant-numeric:tabular-nums}"
    ".end{text-anchor:end}.mid{text-anchor:middle}.name{font-weight:600}"
    ".rule{stroke:var(--rule);stroke-width:1}.limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4;opacity:.85}"
    ".limitname{fill:var(--bad)}.harm{fill:var(--bad);opacity:.1}.harmname{fill:var(--bad);font-weight:600;font-size:11px}"
    ".line{fill:none;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}.area{opacity:.13;stroke:none}"
    ".canary{stroke:var(--canary)}.stable{stroke:var(--stable)}.fcanary{fill:var(--canary)}.fstable{fill:var(--stable)}"
    ".edge{stroke:var(--paper);stroke-width:1;fill:none}.inside{fill:var(--ink);font-weight:600;font-size:12px}"
    ".good{fill:var(--good)}.bad{fill:var(--bad)}.warn{fill:var(--warn)}.plain{fill:var(--plain)}"
    ".pole{stroke:var(--faint);stroke-width:1;stroke-dasharray:1.5 3.5;opacity:.75}.num{fill:var(--paper);font-weight:700;"
    "font-size:10px;text-anchor:middle}.band{fill:var(--raised)}"
    + "".join(f".v{n}{{fill:var(--v{n})}}" for n in range(VERSION_COLOURS))
)

PAGE = (
    "*{box-sizing:border-box}html{background:var(--paper);color:var(--ink);font:15px/1.55 " + FONT + ";"
    "-webkit-text-size-adjust:100%}body{max-width:1180px;margin:0 auto;padding:40px 28px 64px}"
    "h1{font-size:27px;line-height:1.2;margin:0 0 4px;letter-spacing:-.015em}h2{font-size:18px;margin:44px 0 12px}"
    "p{margin:0 0 12px;max-width:84ch}.intro{color:var(--soft)}.headline{font-size:17px;font-weight:600;margin:0 0 10px}"
    ".good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}"
    "svg{display:block;width:100%;height:auto}figure{margin:22px 0 0;padding:18px 18px 10px;border:1px solid var(--rule);"
    "border-radius:12px;overflow-x:auto}figure svg{min-width:760px}"
    "ol.marks{columns:2;column-gap:36px;padding:0;margin:18px 0 6px;list-style:none;font-size:13.5px;line-height:1.45}"
    "ol.marks li{break-inside:avoid;display:grid;grid-template-columns:24px 52px 1fr;gap:6px;padding:4px 0}"
    ".dot{display:inline-flex;align-items:center;justify-content:center;width:20px;height:20px;border-radius:50%;"
    "font-size:10.5px;font-weight:700;color:var(--paper);background:var(--plain)}.dot.good{background:var(--good)}"
    ".dot.bad{background:var(--bad)}.dot.warn{background:var(--warn)}.dot.good,.dot.bad,.dot.warn{color:var(--paper)}"
    ".when{color:var(--faint);font-variant-numeric:tabular-nums;text-align:right}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}"
    "th{font-weight:600;color:var(--soft);font-size:12.5px;text-align:left;padding:6px 18px 6px 0;"
    "border-bottom:1px solid var(--rule);white-space:nowrap}td{padding:8px 18px 8px 0;border-bottom:1px solid var(--rule);"
    "vertical-align:top}th:last-child,td:last-child{padding-right:0}.right{text-align:right;font-variant-numeric:tabular-nums;"
    "white-space:nowrap}tr:last-child td{border-bottom:0}"
    "article .scroll+.scroll{margin-top:18px}table.narrow{width:auto;min-width:26em}"
    "article{border:1px solid var(--rule);border-radius:12px;padding:18px 20px 12px;margin:0 0 16px}"
    "article h3{font-size:16px;margin:0 0 6px;display:flex;gap:10px;align-items:center;flex-wrap:wrap}"
    ".badge{font-size:12px;font-weight:650;padding:1px 9px;border-radius:99px;border:1px solid currentColor}"
    "dl.facts{display:flex;flex-wrap:wrap;gap:6px 34px;margin:12px 0 14px}dl.facts div{min-width:0}"
    "dl.facts dt,dl.made dt{color:var(--soft);font-size:12.5px}dl.facts dd{margin:0;font-weight:600;"
    "font-variant-numeric:tabular-nums}dl.made{display:grid;grid-template-columns:max-content 1fr;gap:6px 22px;margin:0 0 16px}"
    "dl.made dt{padding-top:2px}dl.made dd{margin:0}"
    "details{border-top:1px solid var(--rule);padding:9px 0}summary{cursor:pointer;color:var(--soft)}"
    "pre{font:12.5px/1.5 " + MONO + ";background:var(--raised);padding:14px 16px;border-radius:8px;overflow-x:auto;margin:10px 0}"
    "@media(max-width:760px){ol.marks{columns:1}body{padding:24px 16px}}"
    "@media print{figure,article{break-inside:avoid}}"
)
