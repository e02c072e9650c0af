"""RAG-Sequence: 64 questions, 240 documents encoded anew, 20 retrieved, clipped gradients, Adam."""

import itertools

from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, parameter, tensor, trainer

B, K, STEPS, LR, CLIP = 64, 20, 600, 1e-2, 5.0


def rate(step):
    """Share of the learning rate: thirty steps of warm-up, then linearly down to zero."""
    step %= STEPS
    return min((step + 1) / 30, 1 - step / STEPS)


class Rag(nn.Module):
    def __init__(self, P, E_d, N):
        super().__init__()
        self.N, (D, H) = N, P["W_x"].shape
        self.register_buffer("documents", tensor(E_d))           # the frozen encoder
        self.questions, self.E, self.S = (parameter(P[k]) for k in ("Q", "E", "S"))
        self.asked, self.read = nn.Linear(D, H), nn.Linear(len(P["W_z"]), H, bias=False)
        self.before, self.out = nn.Linear(D, H, bias=False), nn.Linear(H, P["W_o"].shape[1])
        fill_linear(self.asked, P["W_x"], P["b"])
        fill_linear(self.read, P["W_z"])
        fill_linear(self.before, P["W_y"])
        fill_linear(self.out, P["W_o"], P["b_o"])

    def bag(self, ids, table):
        return F.embedding_bag(ids, table, mode="sum", padding_idx=self.N.PAD)

    def blind(self, ids):
        return ids.masked_fill((ids >= self.N.NAMES) & (ids < self.N.NAMES_END), self.N.BLANK)

    def forward(self, x, docs, y):
        """Mean -log p(y|x), in nats."""
        scores = 8.0 * self.bag(x, self.questions) @ self.bag(docs, self.documents).T
        scores, idx = scores.topk(K)                                             # (B, K)
        before = F.pad(self.N.ANSWER + y[:, :-1], (1, 0), value=self.N.PAD)
        a = self.asked(self.bag(self.blind(x), self.E))[:, None] + self.before(F.embedding(before, self.E))
        z = self.read(F.embedding(self.blind(docs), self.E).flatten(1))          # each document once
        logits = self.out(F.relu((a + self.S)[:, None] + z[idx][:, :, None]))    # (B, K, T, 20)
        said = logits.log_softmax(-1).gather(3, y[:, None, :, None].expand(-1, K, -1, -1))
        return -(scores.log_softmax(1) + said.sum((2, 3))).logsumexp(1).mean()


def make(N, rng):
    world, E_d = N.make_world(0), N.word_vectors(rng)
    values = rng.integers(20, size=world["values"].shape)
    docs, at = N.snapshot(values), rng.choice(world["train"], B)
    x, y = world["x"][at], N.answers(world, values, at)
    P0 = N.init(rng)

    def ours():
        P = own(P0)
        state, times = N.adam_init(P), itertools.count()

        def step():
            D = N.bag_forward(docs, E_d)[0]
            loss, cache = N.rag_forward(x, docs, D, y, P, K, "sequence")
            G = N.rag_backward(cache)
            N.clip_by_norm(G, CLIP)
            N.adam_update(P, G, state, LR * rate(next(times)))
            return loss
        return step

    def pytorchs():
        model, batch = Rag(P0, E_d, N), (tensor(x), tensor(docs), tensor(y))
        optimizer = adam(model, LR)
        return trainer(model, optimizer, lambda m: m(*batch), clip=CLIP, rate=rate)

    return ours, pytorchs
