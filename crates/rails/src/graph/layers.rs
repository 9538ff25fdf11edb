//! A layered drawing after Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures",
//! IEEE Transactions on Systems, Man, and Cybernetics, 1981): loops are broken, nodes are put on layers by longest path, long
//! ways get a waypoint on each layer between, and sweeps of barycentres order each layer.

use std::collections::BTreeSet;

use super::Graph;

/// Sweeps over the layers, for the order and for the places. More change nothing that one sees.
const SWEEPS: usize = 12;
const GAP_X: f64 = 22.0;
const GAP_Y: f64 = 14.0;
const MARGIN: f64 = 16.0;
/// How far a way from a node to itself reaches beside it.
const LOOP: f64 = 30.0;

/// Where everything is, in pixels.
pub(super) struct Layout {
    pub(super) nodes: Vec<Rect>,
    pub(super) ways: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A box by its centre.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// How a way is drawn: points it passes, from its first to its last, and where its label stands.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) label: Option<Rect>,
}

/// A node, or a waypoint of a way.
struct Item {
    layer: usize,
    size: (f64, f64),
    centre: f64,
    up: Vec<usize>,
    down: Vec<usize>,
}

struct Drawing {
    items: Vec<Item>,
    layers: Vec<Vec<usize>>,
    /// By way, the items it passes from upper to lower, both ends with them; and whether it runs upwards.
    chains: Vec<(Vec<usize>, bool)>,
}

/// Places nodes of given sizes, and labels of given sizes on the ways.
pub(super) fn lay_out(graph: &Graph, nodes: &[(f64, f64)], labels: &[Option<(f64, f64)>]) -> Layout {
    let mut drawing = Drawing::of(graph, nodes, labels);
    for sweep in 0..SWEEPS {
        drawing.order(sweep % 2 == 0);
    }
    drawing.place();
    drawing.layout(nodes, labels)
}

impl Drawing {
    fn of(graph: &Graph, nodes: &[(f64, f64)], labels: &[Option<(f64, f64)>]) -> Self {
        let back = back_ways(graph);
        let layers = longest_paths(graph, &back);
        let item =
            |layer: usize, size: (f64, f64)| Item { layer, size, centre: 0.0, up: vec![], down: vec![] };
        // Nodes stand on even layers, labels between them.
        let mut items: Vec<Item> =
            layers.iter().zip(nodes).map(|(layer, size)| item(layer * 2, *size)).collect();
        let mut chains = Vec::new();
        for (number, way) in graph.ways.iter().enumerate() {
            let upwards = back.contains(&number);
            let (upper, lower) = if upwards { (way.to, way.from) } else { (way.from, way.to) };
            let mut chain = vec![upper];
            if way.from == way.to {
                // Room at both sides, so that the node stays in the middle of what is kept free.
                items[way.from].size.0 += 2.0 * (LOOP + labels[number].map_or(0.0, |label| label.0));
            }
            if way.from != way.to {
                let (first, last) = (items[upper].layer + 1, items[lower].layer);
                let labelled = if upwards { last - 1 } else { first };
                for layer in first..last {
                    let label = labels[number].filter(|_| layer == labelled);
                    chain.push(items.len());
                    items.push(item(layer, label.unwrap_or((6.0, 0.0))));
                }
                chain.push(lower);
                for pair in chain.windows(2) {
                    items[pair[0]].down.push(pair[1]);
                    items[pair[1]].up.push(pair[0]);
                }
            }
            chains.push((chain, upwards));
        }
        let count = items.iter().map(|item| item.layer + 1).max().unwrap_or(0);
        let mut rows = vec![Vec::new(); count];
        for (number, item) in items.iter().enumerate() {
            rows[item.layer].push(number);
        }
        Self { items, layers: rows, chains }
    }

    /// One sweep of barycentres: each layer is ordered by the mean position of its neighbours in the layer before.
    fn order(&mut self, downwards: bool) {
        let count = self.layers.len();
        let mut position = vec![0.0; self.items.len()];
        for row in &self.layers {
            for (at, number) in row.iter().enumerate() {
                position[*number] = to_f64(at);
            }
        }
        for step in 1..count {
            let layer = if downwards { step } else { count - 1 - step };
            let mut row = std::mem::take(&mut self.layers[layer]);
            let key = |number: &usize| {
                let item = &self.items[*number];
                mean(if downwards { &item.up } else { &item.down }, &position).unwrap_or(position[*number])
            };
            row.sort_by(|a, b| key(a).total_cmp(&key(b)));
            for (at, number) in row.iter().enumerate() {
                position[*number] = to_f64(at);
            }
            self.layers[layer] = row;
        }
    }

    /// Draws every item to the middle of its neighbours as far as the others of its layer let it.
    fn place(&mut self) {
        for layer in 0..self.layers.len() {
            let wanted = vec![0.0; self.layers[layer].len()];
            self.spread(layer, &wanted);
        }
        for sweep in 0..SWEEPS {
            for step in 0..self.layers.len() {
                let layer = if sweep % 2 == 0 { step } else { self.layers.len() - 1 - step };
                let centres: Vec<f64> = self.items.iter().map(|item| item.centre).collect();
                let wanted: Vec<f64> = self.layers[layer]
                    .iter()
                    .map(|number| {
                        let item = &self.items[*number];
                        let around: Vec<usize> = item.up.iter().chain(&item.down).copied().collect();
                        mean(&around, &centres).unwrap_or(item.centre)
                    })
                    .collect();
                self.spread(layer, &wanted);
            }
        }
    }

    /// The nearest places to those wanted at which nothing overlaps: between pushing all to the right and all to the left.
    fn spread(&mut self, layer: usize, wanted: &[f64]) {
        let row = &self.layers[layer];
        let apart = |a: usize, b: usize| f64::midpoint(self.items[a].size.0, self.items[b].size.0) + GAP_X;
        let (mut right, mut left) = (wanted.to_vec(), wanted.to_vec());
        for at in 1..row.len() {
            right[at] = right[at].max(right[at - 1] + apart(row[at - 1], row[at]));
        }
        for at in (1..row.len()).rev() {
            left[at - 1] = left[at - 1].min(left[at] - apart(row[at - 1], row[at]));
        }
        for (at, number) in row.clone().into_iter().enumerate() {
            self.items[number].centre = f64::midpoint(right[at], left[at]);
        }
    }

    fn layout(&self, sizes: &[(f64, f64)], labels: &[Option<(f64, f64)>]) -> Layout {
        let edge = |side: fn(f64, f64) -> f64, sign: f64| {
            self.items.iter().map(|item| item.centre + sign * item.size.0 / 2.0).reduce(side).unwrap_or(0.0)
        };
        let left = edge(f64::min, -1.0) - MARGIN;
        let width = edge(f64::max, 1.0) + MARGIN - left;
        let (mut middles, mut y) = (Vec::new(), MARGIN);
        for row in &self.layers {
            let height = row.iter().map(|number| self.items[*number].size.1).fold(0.0, f64::max);
            middles.push(y + height / 2.0);
            y += height + GAP_Y;
        }
        let rect = |number: usize| {
            let item = &self.items[number];
            Rect { x: item.centre - left, y: middles[item.layer], width: item.size.0, height: item.size.1 }
        };
        let own = |(number, size): (usize, &(f64, f64))| Rect { width: size.0, ..rect(number) };
        let nodes: Vec<Rect> = sizes.iter().enumerate().map(own).collect();
        let ways = self.chains.iter().enumerate().map(|(number, (chain, upwards))| {
            if chain.len() == 1 {
                return looped(nodes[chain[0]], labels[number]);
            }
            let inner: Vec<Rect> = chain[1..chain.len() - 1].iter().map(|item| rect(*item)).collect();
            let label = if *upwards { inner.last() } else { inner.first() };
            let label = label.copied().filter(|_| labels[number].is_some());
            let mut points = vec![self.port(chain[0], chain[1], &nodes, true)];
            points.extend(inner.iter().map(|rect| (rect.x, rect.y)));
            points.push(self.port(chain[chain.len() - 1], chain[chain.len() - 2], &nodes, false));
            if *upwards {
                points.reverse();
            }
            Route { points, label }
        });
        Layout { ways: ways.collect(), nodes, width, height: y - GAP_Y + MARGIN }
    }

    /// Where a way meets a node: several ways share its edge in the order of where they go.
    fn port(&self, node: usize, towards: usize, nodes: &[Rect], below: bool) -> (f64, f64) {
        let item = &self.items[node];
        let mut around: Vec<usize> = if below { item.down.clone() } else { item.up.clone() };
        around.sort_by(|a, b| self.items[*a].centre.total_cmp(&self.items[*b].centre));
        let at = around.iter().position(|other| *other == towards).unwrap_or(0);
        let rect = nodes[node];
        let step = (rect.width / to_f64(around.len() + 1)).min(26.0);
        let x = rect.x + step * (to_f64(at) - to_f64(around.len().saturating_sub(1)) / 2.0);
        (x, if below { rect.y + rect.height / 2.0 } else { rect.y - rect.height / 2.0 })
    }
}

/// A way from a node to itself, at its right side.
fn looped(node: Rect, label: Option<(f64, f64)>) -> Route {
    let (x, up) = (node.x + node.width / 2.0, node.height / 4.0);
    let points = vec![(x, node.y + up), (x + LOOP - 4.0, node.y), (x, node.y - up)];
    let label = label.map(|(width, height)| Rect { x: x + LOOP + width / 2.0, y: node.y, width, height });
    Route { points, label }
}

/// The ways that close a loop, seen from where runs begin.
fn back_ways(graph: &Graph) -> BTreeSet<usize> {
    let mut back = BTreeSet::new();
    let (mut done, mut on_path) = (BTreeSet::new(), BTreeSet::new());
    for start in 0..graph.nodes.len() {
        let mut stack = vec![(start, false)];
        while let Some((at, leaving)) = stack.pop() {
            if leaving {
                on_path.remove(&at);
                continue;
            }
            if !done.insert(at) {
                continue;
            }
            on_path.insert(at);
            stack.push((at, true));
            for (number, way) in graph.ways.iter().enumerate().filter(|(_, way)| way.from == at) {
                if on_path.contains(&way.to) {
                    back.insert(number);
                } else {
                    stack.push((way.to, false));
                }
            }
        }
    }
    back
}

/// Each node's layer: the longest path to it over ways that close no loop.
fn longest_paths(graph: &Graph, back: &BTreeSet<usize>) -> Vec<usize> {
    let mut layers = vec![0; graph.nodes.len()];
    for _ in 0..graph.nodes.len() {
        let mut changed = false;
        for (number, way) in graph.ways.iter().enumerate() {
            if !back.contains(&number) && way.from != way.to && layers[way.to] <= layers[way.from] {
                layers[way.to] = layers[way.from] + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    layers
}

fn mean(of: &[usize], values: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|at| values[*at]).sum::<f64>() / to_f64(of.len()))
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
