"""Labels as a trie of their tokens: every label's probability in one forward pass, or the likeliest path alone.

A label's score is the log-probability that the model gives to its tokens after the prompt, the answer's end included:
so `set` and `set alarm` are told apart although one begins like the other. Labels share the computation of what they
begin with, and all of them share the prompt's.

`exact_scores` reads all inner nodes of the trie at once; a mask lets each see its ancestors alone (tree attention: Miao
et al. 2023, SpecInfer, arXiv 2305.09781). `greedy_scores` follows the likeliest child from branch to branch on cached
keys, and stops where one label is left: less work, and the best label may be missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taskmix.errors import DataError
from taskmix.modeling.reading import Reading

LOGITS_AT_ONCE = 1 << 26
"""Logits held at a time (256 MiB as fp32): bounds memory, decides no result."""


@dataclass(frozen=True)
class LabelTrie:
    """The tokens of some labels, their common beginnings once.

    Node 0 is the prompt's end; nodes 1 to K are tokens that have others after them. An edge leads from a node to a
    token: a further node, or the last token of a label, which need not be read.

    Attributes:
        tokens_K: (K,) int64, token of each node but 0.
        parents_K: (K,) int64, of each node but 0.
        edge_from_E: (edges,) int64, node that an edge leaves.
        edge_token_E: (edges,) int64.
        edge_node_E: (edges,) int64, node that it leads to, or -1 at a label's end.
        paths: the edges of each label, in order.
    """

    tokens_K: NDArray[np.int64]
    parents_K: NDArray[np.int64]
    edge_from_E: NDArray[np.int64]
    edge_token_E: NDArray[np.int64]
    edge_node_E: NDArray[np.int64]
    paths: tuple[tuple[int, ...], ...]

    @property
    def depths_K(self) -> NDArray[np.int64]:
        """(K,) tokens between each node and the prompt's end, 0 for the first."""
        depths = np.full(len(self.tokens_K) + 1, -1)
        for node, parent in enumerate(self.parents_K, start=1):
            depths[node] = depths[parent] + 1
        return depths[1:]

    @property
    def sees_KK(self) -> NDArray[np.bool_]:
        """(K, K) which nodes are ancestors of each, itself included."""
        size = len(self.tokens_K)
        sees = np.eye(size, dtype=bool)
        for node in range(size):
            if parent := int(self.parents_K[node]):
                sees[node] |= sees[parent - 1]
        return sees


def build_trie(labels: Sequence[Sequence[int]], *, names: Sequence[str]) -> LabelTrie:
    """The trie of labels.

    Args:
        labels: the tokens of each, the answer's end included: so none begins another.
        names: of the labels, for errors.

    Raises:
        DataError: two labels are the same tokens, so that no model with this tokenizer can tell them apart.
    """
    edges: dict[tuple[int, int], int] = {}
    nodes: list[tuple[int, int]] = []  # (token, parent) of nodes 1..
    leads_to: list[int] = []
    paths: list[tuple[int, ...]] = []
    ends: dict[int, int] = {}
    for index, label in enumerate(labels):
        node, path = 0, []
        for place, token in enumerate(label):
            edge = edges.setdefault((node, token), len(edges))
            if edge == len(leads_to):
                leads_to.append(-1)
            path.append(edge)
            if place + 1 < len(label):
                if leads_to[edge] < 0:
                    nodes.append((token, node))
                    leads_to[edge] = len(nodes)
                node = leads_to[edge]
        if path[-1] in ends:
            raise DataError(
                f"labels {names[ends[path[-1]]]!r} and {names[index]!r} are the same tokens to this model's tokenizer; "
                "rename one in the data"
            )
        ends[path[-1]] = index
        paths.append(tuple(path))
    pairs = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
    table = np.array(nodes, dtype=np.int64).reshape(-1, 2)
    return LabelTrie(
        table[:, 0], table[:, 1], pairs[:, 0], pairs[:, 1], np.array(leads_to, dtype=np.int64), tuple(paths)
    )


@torch.inference_mode()
def exact_scores(reading: Reading, trie: LabelTrie, *, length_normalized: bool = False) -> NDArray[np.float32]:
    """The log-probability of every label after each prompt, in one forward pass.

    Args:
        reading: the prompts, read; it stays where it is.
        trie: of the labels.
        length_normalized: take the mean over a label's tokens rather than the sum. The sum is the model's own
            probability of the label; the mean does not hold length against a label (Brown et al. 2020, section 2.4).

    Returns:
        (batch, labels) float32.
    """
    device = reading.logits_BV.device
    nodes = len(trie.tokens_K)
    from_E = torch.from_numpy(trie.edge_from_E).to(device)
    token_E = torch.from_numpy(trie.edge_token_E).to(device)
    if nodes:
        logits_BKV = reading.branch(
            torch.from_numpy(trie.tokens_K).to(device),
            depths_K=torch.from_numpy(trie.depths_K).to(device),
            sees_KK=torch.from_numpy(trie.sees_KK).to(device),
        )
        logits_BNV = torch.cat([reading.logits_BV[:, None], logits_BKV], dim=1)
    else:
        logits_BNV = reading.logits_BV[:, None]
    norms_BN = logits_BNV.logsumexp(dim=-1)
    edges_BE = logits_BNV[:, from_E, token_E] - norms_BN[:, from_E]
    return _sum_paths(edges_BE, trie, length_normalized=length_normalized)


def rows_at_once(trie: LabelTrie, *, vocabulary: int) -> int:
    """Rows of a batch whose exact scores fit the budget of logits."""
    return max(1, LOGITS_AT_ONCE // ((len(trie.tokens_K) + 1) * vocabulary))


@torch.inference_mode()
def greedy_scores(reading: Reading, trie: LabelTrie) -> NDArray[np.float32]:
    """Log-probabilities of labels from the likeliest path alone; uses the reading up (give it a `copy`).

    At each branch of the path the children share its probability as the model weighs them, and a child that is not
    taken shares its part evenly among its labels. So they sum to 1 over the labels, and the label at the path's end is
    the one that is answered, whatever the others' share.

    Returns:
        (batch, labels) float32.
    """
    children, below = _children(trie), _labels_below(trie)
    batch = len(reading)
    scores, mass = np.zeros((batch, len(trie.paths))), np.zeros(batch)
    chain, start = _chain(trie, 0, children)
    reading.advance([chain] * batch)
    walking = [(row, start) for row in range(batch)]
    while walking:
        going, feed = [], []
        for place, (row, node) in enumerate(walking):
            edges = children[node]
            tokens = torch.from_numpy(trie.edge_token_E[edges]).to(reading.logits_BV.device)
            shares = reading.logits_BV[place, tokens].double().log_softmax(dim=0).cpu().numpy()
            for edge, share in zip(edges, shares, strict=True):
                scores[row, below[edge]] = mass[row] + share - np.log(len(below[edge]))
            best = edges[int(shares.argmax())]
            mass[row] += shares.max()
            if len(below[best]) > 1:
                chain, node = _chain(trie, int(trie.edge_node_E[best]), children)
                going.append((place, row, node))
                feed.append([int(trie.edge_token_E[best]), *chain])
        if going and len(going) < len(walking):
            reading.select([place for place, _, _ in going])
        reading.advance(feed)
        walking = [(row, node) for _, row, node in going]
    return scores.astype(np.float32)


def _chain(trie: LabelTrie, node: int, children: list[list[int]]) -> tuple[list[int], int]:
    """The tokens from a node on to the next branch, and the node there."""
    tokens = []
    while len(children[node]) == 1 and trie.edge_node_E[children[node][0]] >= 0:
        edge = children[node][0]
        tokens.append(int(trie.edge_token_E[edge]))
        node = int(trie.edge_node_E[edge])
    return tokens, node


def _children(trie: LabelTrie) -> list[list[int]]:
    """The edges that leave each node."""
    children: list[list[int]] = [[] for _ in range(len(trie.tokens_K) + 1)]
    for edge, node in enumerate(trie.edge_from_E):
        children[node].append(edge)
    return children


def _labels_below(trie: LabelTrie) -> list[list[int]]:
    """The labels whose path takes each edge."""
    below: list[list[int]] = [[] for _ in trie.edge_from_E]
    for label, path in enumerate(trie.paths):
        for edge in path:
            below[edge].append(label)
    return below


def _sum_paths(edges_BE: Tensor, trie: LabelTrie, *, length_normalized: bool) -> NDArray[np.float32]:
    lengths = np.array([len(path) for path in trie.paths])
    flat = torch.tensor([edge for path in trie.paths for edge in path], device=edges_BE.device)
    owner = torch.from_numpy(np.repeat(np.arange(len(trie.paths)), lengths)).to(edges_BE.device)
    sums = torch.zeros((len(edges_BE), len(trie.paths)), dtype=edges_BE.dtype, device=edges_BE.device)
    sums.index_add_(1, owner, edges_BE[:, flat])
    scores: NDArray[np.float32] = sums.cpu().numpy()
    return (scores / lengths).astype(np.float32) if length_normalized else scores
