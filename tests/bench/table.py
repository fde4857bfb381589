"""Medians, tables, goals."""

import fnmatch
from statistics import median

OURS = 'chat-broker'


def number(value):
    """Three digits, or as many as stand before the point."""
    unit = ''
    for name, size, least in (('M', 1e6, 1e6), ('k', 1e3, 1e4)):
        if abs(value) >= least:
            value, unit = value / size, name
            break
    return (f'{value:.0f}' if abs(value) >= 99.95 else f'{value:.3g}') + unit


def cell(values):
    if not values:
        return '-'
    if len(values) == 1:
        return number(values[0])
    return f'{number(median(values))} ({number(min(values))} to {number(max(values))})'


def best(data, peers, column, more_is_better):
    """The peer with the best median, and that median, or None."""
    found = [(median(data[p.name, column.work, column.metric]), p.name) for p in peers
             if p.kind == 'peer' and p.name not in column.without
             and data.get((p.name, column.work, column.metric))]
    return (max if more_is_better else min)(found) if found else None


def ratio_cells(data, peers, column, more_is_better):
    """chat-broker to the best peer; the goal and whether it is reached."""
    ours = data.get((OURS, column.work, column.metric))
    other = best(data, peers, column, more_is_better)
    ratio = f'{median(ours) / other[0]:.2f} x {other[1]}' if ours and other else '-'
    if not column.goal:
        return ratio, ''
    word = 'least' if more_is_better else 'most'
    goal = f'at {word} {column.goal:g}'
    if ours and other:
        goal += verdict(median(ours) / other[0], column.goal, more_is_better)
    return ratio, goal


def verdict(ratio, goal, more_is_better):
    return ': yes' if (ratio >= goal if more_is_better else ratio <= goal) else ': NO'


def rows_of(columns, section, data, peers):
    first = columns[0]

    def order(peer):
        values = data.get((peer.name, first.work, first.metric))
        key = median(values) if values else 0
        return (['ours', 'peer', 'limit'].index(peer.kind), not values,
                -key if section.more_is_better else key)

    for peer in sorted(peers, key=order):
        if not any(fnmatch.fnmatch(peer.name, pattern) for pattern in section.peers):
            continue
        cells = [cell(data.get((peer.name, c.work, c.metric))) for c in columns]
        if any(c != '-' for c in cells):
            yield [peer.name + (' (limit)' if peer.kind == 'limit' else ''), *cells]


def ratio_rows(columns, section, data):
    for pair in section.ratios:
        values = [[data.get((name, c.work, c.metric)) for name in pair] for c in columns]
        if any(all(v) for v in values):
            yield [' to '.join(pair),
                   *(f'{median(v[0]) / median(v[1]):.2f} x' if all(v) else '-' for v in values)]


def section_text(section, data, peers, shown):
    """SHOWN are the (work, metric) of the tables before: one of nothing else is left out."""
    measured = {(work, metric) for _, work, metric in data}
    columns = [c for c in section.columns if (c.work, c.metric) in measured]
    if all((c.work, c.metric) in shown for c in columns):
        return ''
    shown.update((c.work, c.metric) for c in columns)
    rows = list(rows_of(columns, section, data, peers))
    ratios = [ratio_cells(data, peers, c, section.more_is_better) for c in columns]
    if any(r != '-' for r, _ in ratios):
        rows.append([f'{OURS} to best peer', *(r for r, _ in ratios)])
        if any(g for _, g in ratios):
            rows.append(['goal', *(g for _, g in ratios)])
    rows += ratio_rows(columns, section, data)
    rows.insert(0, ['', *(c.title for c in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [section.title, '']
    lines += ['  ' + '  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
    lines += [f'  {line}' for line in (goal_text(g, data) for g in section.goals) if line]
    return '\n'.join(lines) + '\n\n'


def goal_text(goal, data):
    values = [median(data[key]) for key in goal.keys if data.get(key)]
    if len(values) < min(len(goal.keys), 2):
        return ''
    value = values[0]
    if len(goal.keys) > 1:
        low, high = values[1], values[0]
        if len(goal.keys) > 2:
            low, high = min(values), max(values)
        value = high / low
    bound = goal.at_least or goal.at_most
    return (f'{goal.text}: {number(value)}, goal: at {"least" if goal.at_least else "most"} '
            f'{number(bound)}{verdict(value, bound, goal.at_least)}')


def text(sections, data, peers):
    shown = set()
    return ''.join(section_text(s, data, peers, shown) for s in sections)
