"""Real speech for the acoustic model: corpus, alignment, features, file, network.

The path of a clip: `fotaq` (or `synthetic`) yields utterances, `audio` decodes them, `align` gives
each 10 ms frame a phone and a tied state, `features` gives it 120 numbers, `store` keeps both, and
`blstm` is the network of arXiv 1907.05701 that learns one from the other. Nothing is imported here,
so that importing the package costs nothing and needs none of the `asr` extra.
"""
