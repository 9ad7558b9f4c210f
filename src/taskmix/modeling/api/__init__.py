"""Models behind OpenAI-compatible endpoints: asked with the prompts of decoders, paid by the token.

`request` makes the request, `endpoint` sends it, `spending` keeps count of what it may cost, `paid` keeps answers on
storage so that nothing is asked twice, `reply` reads what comes back, `model` is all of it behind the one interface of
models, and `bill` says beforehand what an evaluation will cost.
"""
