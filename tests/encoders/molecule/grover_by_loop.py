"""A slow second implementation of GROVER's encoder for one molecule: NumPy loops that read the encoder's weights."""

import math

import numpy as np

from recsys_ssl.encoders.molecule.graph import ATOM_COLUMNS, ATOM_FIELDS
from recsys_ssl.encoders.molecule.grover import GroverOutputs


def directed_edges(graph):
    """[num_edges, 2] source and target, edges 2k and 2k + 1 of bond k."""
    return [(int(v), int(w)) for begin, end in graph.ends for v, w in ((begin, end), (end, begin))]


def expand_by_loop(graph):
    """[num_atoms, 151] and [num_edges, 165]."""
    atoms = []
    for codes, mass in zip(graph.atoms, graph.masses):
        codes, vector = dict(zip(ATOM_COLUMNS, codes)), []
        for name, size in ATOM_FIELDS.items():
            vector += [mass] if name == "mass" else [codes[name]] if size == 1 else np.eye(size)[codes[name]].tolist()
        atoms.append(vector)
    edges = []
    for edge, (source, _) in enumerate(directed_edges(graph)):
        kind, conjugated, in_ring, stereo = graph.bonds[edge // 2]
        edges.append([*atoms[source], 0, *np.eye(5)[kind][:4], conjugated, in_ring, *np.eye(7)[stereo]])
    return np.array(atoms, np.float64), np.array(edges, np.float64).reshape(-1, 165)


def sum_neighbours_by_loop(values, edges):
    return np.array([sum((values[v] for v, w in edges if w == atom), 0 * values[0]) for atom in range(len(values))])


def sum_incoming_by_loop(values, edges, num_atoms):
    zero = np.zeros(values.shape[1])
    return np.array(
        [sum((values[e] for e, (_, w) in enumerate(edges) if w == atom), zero) for atom in range(num_atoms)]
    )


def sum_previous_by_loop(values, edges):
    """Of u -> v for every neighbour u of v but w, for each edge v -> w."""
    sums = np.zeros_like(values)
    for edge, (v, w) in enumerate(edges):
        for previous, (u, into) in enumerate(edges):
            if into == v and u != w:
                sums[edge] += values[previous]
    return sums


def prelu(x, slope):
    return np.where(x > 0, x, slope * x)


def layer_norm(x, gamma, beta):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + beta


def pass_messages_by_loop(inputs, edges, kernel, slope, hops, sum_messages):
    """[num_networks, num_rows, dim]."""
    results = []
    for weights, alpha in zip(kernel, slope):
        messages = inputs
        for _ in range(hops):
            messages = prelu(inputs + sum_messages(messages, edges) @ weights, alpha)
        results.append(messages)
    return np.array(results)


def softmax(scores):
    weights = np.exp(scores - np.max(scores))
    return weights / weights.sum()


def attend_within_molecules_by_loop(q, k, v, molecules):
    """[num_rows, num_heads, dim]; rows of molecule -1 get zeros."""
    attended = np.zeros([v.shape[1], v.shape[0], v.shape[2]])
    for head, row in np.ndindex(*v.shape[:2]):
        others = np.flatnonzero(molecules == molecules[row])
        if molecules[row] >= 0:
            weights = softmax(k[head, others] @ q[head, row] / math.sqrt(v.shape[2]))
            attended[row, head] = weights @ v[head, others]
    return attended


def attend_over_heads_by_loop(q, k, v):
    """[num_rows, num_heads, dim]."""
    num_heads, num_rows, dim = v.shape
    attended = np.zeros([num_rows, num_heads, dim])
    for row, head, piece in np.ndindex(num_rows, num_heads, num_heads):
        part = slice(piece * dim // num_heads, (piece + 1) * dim // num_heads)
        weights = softmax(k[:, row, part] @ q[head, row, part] / math.sqrt(dim // num_heads))
        attended[row, head, part] = weights @ v[:, row, part]
    return attended


def encode_by_loop(model, graph, hops):
    """The outputs for one molecule; reads the weights in the order in which the layers are made."""
    weights, config = iter(model.get_weights()), model.config

    def take(count):
        return [next(weights).astype(np.float64) for _ in range(count)]

    def run_blocks(x, edges, sum_messages):
        for block in range(config.num_blocks):
            if block == 0:
                kernel, slope, gamma, beta = take(4)
                x = layer_norm(prelu(x @ kernel, slope), gamma, beta)
            messages = pass_messages_by_loop(x, edges, *take(2), hops, sum_messages)
            parts = [
                part @ kernel + bias for part, (kernel, bias) in zip(np.split(messages, 3), (take(2), take(2), take(2)))
            ]
            if config.attention == "heads":
                attended = attend_over_heads_by_loop(*parts)
            else:
                attended = attend_within_molecules_by_loop(*parts, np.zeros(len(x)))
            output, mixture, gamma, beta = take(4)
            x = layer_norm((attended @ output).reshape(len(x), -1) @ mixture, gamma, beta)
        return x

    def feed_forward(*parts):
        first, first_bias, slope, second, second_bias, gamma, beta = take(7)
        hidden = prelu(np.concatenate(parts, axis=1) @ first + first_bias, slope)
        return layer_norm(hidden @ second + second_bias, gamma, beta)

    atom_features, edge_features = expand_by_loop(graph)
    edges, num_atoms = directed_edges(graph), len(atom_features)
    atoms = run_blocks(atom_features, edges, sum_neighbours_by_loop)
    bonds = run_blocks(edge_features, edges, sum_previous_by_loop)
    around_source = np.zeros_like(bonds)
    for edge, (v, w) in enumerate(edges):
        around_source[edge] = atoms[v] + sum((atoms[u] for u, into in edges if into == v and u != w), 0 * atoms[v])
    return GroverOutputs(
        feed_forward(atom_features, sum_neighbours_by_loop(atoms, edges)),
        feed_forward(atom_features, sum_incoming_by_loop(bonds, edges, num_atoms)),
        feed_forward(edge_features, around_source),
        feed_forward(edge_features, sum_previous_by_loop(bonds, edges)),
    )
