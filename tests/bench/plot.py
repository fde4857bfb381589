"""The medians as a picture, by gnuplot: a point with minimum and maximum for each peer,
on a logarithmic axis, and lines where something grows."""

import shutil
import subprocess
from statistics import median

COLOURS = {'ours': 0xc02020, 'peer': 0x2060a0, 'limit': 0x909090}
COLUMNS = 3
WIDTH, HEIGHT = 420, 330  # of one picture

START = '''set terminal svg size {width},{height} dynamic background rgb 'white' font 'sans,10'
set output '{output}'
set multiplot layout {rows},{columns}
set logscale y
set format y '%.0s%c'
set grid y
'''


def spread(values):
    return f'{median(values):g} {min(values):g} {max(values):g}'


def points(title, work, metric, data, peers):
    """The script for one picture of peers, or nothing."""
    rows = [(median(data[p.name, work, metric]), p) for p in peers
            if data.get((p.name, work, metric))]
    if not rows:
        return ''
    lines = [f'"{p.name}" {spread(data[p.name, work, metric])} {COLOURS[p.kind]}'
             for _, p in sorted(rows, key=lambda row: -row[0])]
    return '\n'.join([
        '$data << end', *lines, 'end', 'unset key', 'unset logscale x',
        'set xtics rotate by 45 right', 'set format x', f'set title "{title}"',
        f'set xrange [-0.5:{len(rows) - 0.5}]',
        'plot $data using 0:2:3:4:5:xtic(1) with yerrorbars pt 7 lc rgb variable', ''])


def lines(title, works, metric, data, peers):
    """The same for WORKS, {x: work}: a line for each peer."""
    blocks, parts = [], []
    for number, peer in enumerate(peers):
        rows = [f'{x} {spread(data[peer.name, work, metric])}' for x, work in works.items()
                if data.get((peer.name, work, metric))]
        if len(rows) > 1:
            blocks += [f'$line{number} << end', *rows, 'end']
            parts.append(f'$line{number} using 1:2:3:4 with yerrorlines pt 7 lw '
                         f'{2 if peer.kind == "ours" else 1} title "{peer.name}"')
    if not parts:
        return ''
    return '\n'.join([*blocks, 'set key outside right', 'set logscale x', 'set xtics norotate',
                      'set xtics autofreq', 'set xrange [*:*]', "set format x '%.0s%c'",
                      f'set title "{title}"',
                      'plot ' + ', '.join(parts), ''])


def plot(pictures, data, peers, output):
    """PICTURES are (title, work or {x: work}, metric). Returns what to say about it."""
    if not shutil.which('gnuplot'):
        return 'no plot: there is no gnuplot; to have it: apt-get install gnuplot-nox'
    scripts = [(lines if isinstance(work, dict) else points)(title, work, metric, data, peers)
               for title, work, metric in pictures]
    scripts = [script for script in scripts if script]
    if not scripts:
        return 'no plot: nothing to be seen in one'
    columns = min(COLUMNS, len(scripts))
    rows = -(-len(scripts) // columns)
    script = START.format(width=columns * WIDTH, height=rows * HEIGHT, rows=rows,
                          columns=columns, output=output) + ''.join(scripts)
    done = subprocess.run(['gnuplot'], input=script, capture_output=True, text=True, check=False)
    return f'no plot: {done.stderr.strip()}' if done.returncode else f'plot: {output}'
