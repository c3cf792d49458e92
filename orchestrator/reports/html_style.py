"""The look of the HTML report: light or dark by the reader's own setting, plain on paper."""

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5b6675; --line:
  #dde2e9;
  --good: #1a7f4b; --good-bg: #e2f4ea; --warn: #8a5a00; --warn-bg: #fdf0d2; --bad: #b3261e; --bad-bg:
  #fde5e3;
  --plain-bg: #e9edf2; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2028; --ink: #e4e9f0; --soft:
  #9aa6b5;
  --line: #2e3742; --good: #6fd6a0; --good-bg: #143524; --warn: #f0c060; --warn-bg: #3a2d0e; --bad: #ff9a92;
  --bad-bg: #451c1a; --plain-bg: #29323d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif;
  }
main { max-width: 1280px; margin: 0 auto; padding: 24px 20px 64px; }
header p { margin: 0 0 4px; color: var(--soft); }
h1 { font-size: 26px; line-height: 1.25; margin: 4px 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h2 small { font-weight: 400; color: var(--soft); font-size: 14px; margin-left: 6px; }
.verdict { border-left: 6px solid var(--line); background: var(--card); padding: 14px 18px; border-radius:
  6px; }
.verdict p { margin: 0; font-size: 19px; font-weight: 600; overflow-wrap: anywhere; }
.verdict p + p { font-size: 15px; font-weight: 400; color: var(--soft); margin-top: 4px; }
.verdict.good { border-color: var(--good); } .verdict.warn { border-color: var(--warn); }
.verdict.bad { border-color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 16px 0 0; font-size:
  14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.totals { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 10px; }
.total { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; }
.total b { font-size: 24px; margin-right: 8px; font-variant-numeric: tabular-nums; }
.total p { margin: 2px 0 0; color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-size: 12px; color: var(--soft); font-weight: 600; background: var(--plain-bg); }
th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
td { overflow-wrap: break-word; }
td.name, td.words, td.wide { overflow-wrap: anywhere; } td.name { min-width: 130px; }
td.number { text-align: right; width: 60px; font-variant-numeric: tabular-nums; }
td.words { min-width: 220px; } td.wide { min-width: 360px; }
td small.id { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 11px;
  min-width: 226px; }
td small, li small { display: block; color: var(--soft); font-size: 12px; }
code { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere;
  }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px;
  overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.tag { display: inline-block; white-space: nowrap; padding: 1px 8px; border-radius: 10px; font-size: 12.5px;
  font-weight: 600; background: var(--plain-bg); }
.tag.good { color: var(--good); background: var(--good-bg); } .tag.warn { color: var(--warn); background:
  var(--warn-bg); }
.tag.bad { color: var(--bad); background: var(--bad-bg); }
ul { margin: 6px 0; padding-left: 20px; } li { overflow-wrap: anywhere; }
td ul { margin: 0; padding-left: 16px; }
ul.check { list-style: none; padding: 12px 16px; margin: 0; columns: 300px; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; }
ul.check li { break-inside: avoid; padding: 3px 0 3px 24px; text-indent: -24px; }
ul.check small { text-indent: 0; }
ul.check input { width: 15px; height: 15px; margin: 0 9px 0 0; vertical-align: -2px; }
p.more { color: var(--soft); font-size: 14px; }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --good: #000;
  --warn: #000;
  --bad: #000; --good-bg: #fff; --warn-bg: #fff; --bad-bg: #fff; --plain-bg: #fff; color-scheme: light; }
  main { max-width: none; padding: 0; } body { font-size: 11px; } table { font-size: 10px; }
  .scroll { overflow: visible; } thead { display: table-header-group; } tr { break-inside: avoid; }
  .tag { border: 1px solid #888; } td.name, td.words, td.wide, td small.id { min-width: 0; } }
"""
