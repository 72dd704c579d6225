%% @private The page of {@link brod_dashboard}: one document that asks for nothing but `/state'. It puts all that it is told into
%% text nodes, so that no name or error can become markup. Neither double quotes nor backslashes are used in it.
-module(brod_dashboard_page).

-export([html/0]).

-spec html() -> binary().
html() -> <<"<!doctype html>
<html lang='en'>
<head>
<meta charset='utf-8'>
<meta name='viewport' content='width=device-width, initial-scale=1'>
<meta http-equiv='Content-Security-Policy' content='default-src &#39;none&#39;; script-src &#39;unsafe-inline&#39;; style-src &#39;unsafe-inline&#39;; connect-src &#39;self&#39;; img-src data:'>
<link rel='icon' href='data:,'>
<title>brod</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --in: #2a7de1; --out: #1a9c5b; --bad: #d33c3c; --warn: #c98a00; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
header { display: flex; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; } h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1rem 0; }
.badge { border-radius: 1em; padding: .05em .7em; color: #fff; font-size: .85em; }
.ok, .connected { background: var(--out); } .degraded { background: var(--warn); } .down, .unreachable { background: var(--bad); } .idle { background: #888; }
.soft { opacity: .65; } .bad { color: var(--bad); font-weight: 600; }
.numbers { display: flex; flex-wrap: wrap; gap: 1.6rem; margin: .8rem 0; } .numbers div b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; opacity: .65; font-size: .85em; } td, th { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.wide { white-space: normal; overflow-wrap: anywhere; }
svg { display: block; width: 100%; background: var(--soft); border-radius: 4px; }
.bar { display: inline-block; height: .7em; background: var(--warn); border-radius: 2px; vertical-align: middle; }
@media (max-width: 600px) { body { padding: .5rem; } section { padding: .7rem; } }
</style>
</head>
<body>
<header><h1>brod</h1><span id='node' class='soft'></span><span id='when' class='soft'>waits for the first answer</span></header>
<main id='clients'></main>
<script>
'use strict';
const SVG = 'http://www.w3.org/2000/svg', SHOWN = 120, TIMELINE_MS = 600000;
const history = new Map();
let before = null;

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  for (const child of children) if (child !== null && child !== undefined) node.append(child instanceof Node ? child : String(child));
  return node;
}
function shape(name, attributes, title) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (title) { const t = document.createElementNS(SVG, 'title'); t.textContent = title; node.append(t); }
  return node;
}
function number(n) {
  if (n === null || n === undefined) return '–';
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e4]]) if (n >= size) return (n / (unit === 'k' ? 1e3 : size)).toFixed(1) + ' ' + unit;
  return Number.isInteger(n) ? String(n) : n.toFixed(1);
}
function bytes(n) {
  const text = n === null || n === undefined ? '–' : number(Math.round(n));
  return text + (text.includes(' ') ? 'B' : ' B');
}
const time = ms => new Date(ms).toLocaleTimeString();

function table(columns, rows, empty) {
  if (rows.length === 0) return el('p', {class: 'soft'}, empty);
  const head = el('tr', {}, ...columns.map(c => el('th', {class: c[2] || ''}, c[0])));
  const body = rows.map(row => el('tr', {}, ...columns.map(c => el('td', {class: c[2] || ''}, c[1](row)))));
  return el('div', {class: 'scroll'}, el('table', {}, head, ...body));
}

// What is alike is one row.
function counted(errors) {
  const rows = new Map();
  for (const e of errors) {
    const key = [e.broker, e.what, e.reason].join(' ');
    if (rows.has(key)) rows.get(key).times++; else rows.set(key, {...e, times: 1});
  }
  return [...rows.values()];
}

// Counters become rates by what they were a second ago.
function rate(now, past, key, seconds) {
  return past && seconds > 0 && now[key] >= past[key] ? (now[key] - past[key]) / seconds : 0;
}
function chart(points) {
  const width = 600, height = 60, top = Math.max(1, ...points.map(p => Math.max(p.sent, p.read)));
  const svg = shape('svg', {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', height: 60, role: 'img'}, `messages a second, at most ${number(top)}`);
  for (const [key, colour] of [['sent', 'var(--in)'], ['read', 'var(--out)']]) {
    const line = points.map((p, i) => `${(SHOWN - points.length + i) * width / (SHOWN - 1)},${height - 2 - p[key] / top * (height - 6)}`).join(' ');
    svg.append(shape('polyline', {points: line, fill: 'none', stroke: colour, 'stroke-width': 2, 'vector-effect': 'non-scaling-stroke'}));
  }
  return svg;
}

// A bar from each assignment to the end of its generation; a gap is a rebalance.
function timeline(group, events, now) {
  const width = 600, x = ms => Math.max(0, (1 - (now - ms) / TIMELINE_MS) * width);
  const svg = shape('svg', {viewBox: `0 0 ${width} 22`, preserveAspectRatio: 'none', height: 22, role: 'img'}, 'the last ten minutes');
  let open = null;
  const bar = (from, to, text) => svg.append(shape('rect', {x: x(from), y: 4, width: Math.max(1, x(to) - x(from)), height: 14, fill: 'var(--out)'}, text));
  for (const e of events) {
    if (e.event === 'group.assigned') { if (open) bar(open.at_ms, e.at_ms, open.about); open = e; }
    if (e.event === 'group.revoked') { if (open) bar(open.at_ms, e.at_ms, open.about); open = null; }
    if (e.event === 'group.heartbeat_failed' || e.event === 'group.retrying')
      svg.append(shape('rect', {x: x(e.at_ms), y: 0, width: 3, height: 22, fill: 'var(--bad)'}, `${time(e.at_ms)} ${e.event} ${e.about}`));
  }
  if (open) bar(open.at_ms, now, open.about);
  return el('div', {}, el('div', {class: 'soft'}, group), svg);
}

function client(c, past, seconds, now) {
  const pastTotals = past && past.totals;
  const points = history.get(c.client) || [];
  points.push({sent: rate(c.totals, pastTotals, 'records_sent', seconds), read: rate(c.totals, pastTotals, 'records', seconds)});
  while (points.length > SHOWN) points.shift();
  history.set(c.client, points);
  const last = points[points.length - 1];
  const figure = (text, value) => el('div', {}, el('b', {}, value), text);
  const topic = name => past && past.topics.find(t => t.topic === name);
  const most = Math.max(1, ...c.partitions.map(p => p.lag || 0));
  const byGroup = new Map(c.groups.map(g => [g.group, []]));
  for (const e of c.events) if (e.group && e.at_ms > now - TIMELINE_MS) { if (!byGroup.has(e.group)) byGroup.set(e.group, []); byGroup.get(e.group).push(e); }
  return el('section', {id: 'client-' + c.client},
    el('header', {}, el('h2', {}, c.client), el('span', {class: 'badge ' + c.health}, c.health), el('span', {class: 'soft'}, c.endpoints.join(', '))),
    ...c.problems.map(p => el('div', {class: 'bad'}, p)),
    el('div', {class: 'numbers'},
      figure('messages/s produced', number(last.sent)), figure('messages/s consumed', number(last.read)),
      figure('bytes/s produced', bytes(rate(c.totals, pastTotals, 'bytes_sent', seconds))), figure('bytes/s consumed', bytes(rate(c.totals, pastTotals, 'bytes', seconds))),
      figure('messages of lag', number(c.totals.lag)), figure('calls buffered', number(c.totals.buffered))),
    chart(points),
    el('h3', {}, 'Brokers'),
    table([['broker', b => b.name], ['node', b => b.node], ['state', b => el('span', {class: 'badge ' + b.state}, b.state)], ['connections', b => number(b.connections), 'n'],
           ['requests', b => number(b.requests), 'n'], ['round trip', b => b.mean_round_trip_us === null ? '–' : (b.mean_round_trip_us / 1000).toFixed(1) + ' ms', 'n'],
           ['sent', b => bytes(b.bytes_sent), 'n'], ['received', b => bytes(b.bytes_received), 'n'], ['failures', b => number(b.connect_failures), 'n'], ['throttles', b => number(b.throttles), 'n']],
          c.brokers, 'none is known yet'),
    el('h3', {}, 'Topics'),
    table([['topic', t => t.topic], ['produced/s', t => number(rate(t, topic(t.topic), 'records_sent', seconds)), 'n'], ['consumed/s', t => number(rate(t, topic(t.topic), 'records', seconds)), 'n'],
           ['lag', t => number(t.lag), 'n'], ['buffered', t => number(t.buffered), 'n'], ['waiting', t => number(t.waiting), 'n'], ['retried', t => number(t.retried), 'n'],
           ['failed', t => el('span', {class: t.failed > 0 ? 'bad' : ''}, number(t.failed)), 'n'], ['errors', t => el('span', {class: t.errors > 0 ? 'bad' : ''}, number(t.errors)), 'n']],
          c.topics, 'nothing is produced or consumed'),
    el('h3', {}, 'Groups'),
    table([['group', g => g.group], ['generation', g => g.generation, 'n'], ['partitions', g => g.partitions, 'n'], ['lag', g => number(g.lag), 'n'], ['topics', g => g.topics.join(', '), 'wide']],
          c.groups, 'no members of groups'),
    ...[...byGroup].map(([group, events]) => timeline(group, events, now)),
    el('h3', {}, 'Partitions by lag'),
    table([['topic', p => p.topic], ['partition', p => p.partition, 'n'], ['group', p => p.groups.join(', ')], ['position', p => number(p.position), 'n'], ['lag', p => number(p.lag), 'n'],
           ['', p => el('span', {class: 'bar', style: `width: ${Math.round((p.lag || 0) / most * 120)}px`})], ['unacked', p => number(p.pending), 'n'],
           ['', p => p.state === 'stopped' ? el('span', {class: 'bad'}, p.state) : el('span', {class: 'soft'}, p.state)]],
          c.partitions, 'none is read'),
    c.partitions_more > 0 ? el('p', {class: 'soft'}, `and ${c.partitions_more} more with less lag`) : null,
    el('h3', {}, 'Connections that failed or ended, the last ones first'),
    table([['broker', e => e.broker], ['what', e => e.what], ['times', e => e.times, 'n'], ['why', e => e.reason, 'wide']], counted(c.errors).slice(0, 20), 'none'),
    el('h3', {}, 'What happened'),
    table([['time', e => time(e.at_ms)], ['event', e => e.event], ['group', e => e.group || ''], ['', e => e.about, 'wide']], c.events.slice(-20).reverse(), 'nothing yet'));
}

function show(state) {
  const seconds = before ? (state.at_ms - before.at_ms) / 1000 : 0;
  const past = name => before && before.clients.find(c => c.client === name);
  document.getElementById('node').textContent = state.node;
  document.getElementById('when').textContent = time(state.at_ms);
  document.getElementById('when').className = 'soft';
  const all = state.clients.map(c => client(c, past(c.client), seconds, state.at_ms));
  document.getElementById('clients').replaceChildren(...(all.length ? all : [el('p', {}, 'No client of this node is connected.')]));
  document.title = state.clients.some(c => c.health !== 'ok') ? '! brod' : 'brod';
  before = state;
}
async function ask() {
  try {
    const answer = await fetch('state', {cache: 'no-store'});
    if (!answer.ok) throw new Error('status ' + answer.status);
    show(await answer.json());
  } catch (error) {
    document.getElementById('when').textContent = 'no answer: ' + error.message;
    document.getElementById('when').className = 'bad';
  }
  setTimeout(ask, 1000);
}
ask();
</script>
</body>
</html>
"/utf8>>.
