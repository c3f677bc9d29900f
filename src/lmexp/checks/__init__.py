"""The test-suite for a user's own model or data: `python -m lmexp check <overrides>`.

outcome     what a check says
rows        typed batches taken apart and put together again
outputs     what a network of any kind puts out for a batch
subject     what is checked: recipe, data, task, a few examples, and the task once it knows them
guesses     losses of those who know nothing
invariance  what must not matter to an output: later tokens, padding, batch mates
learning    first loss, eight examples by heart, gradients, the learning rate
decoding    token by token, and carried state
saving      a checkpoint there and back, torch.compile
alignment   what labels stand beside; text_checks: tokenizer, and overlap of the splits
suite       all of them, by name; command: the command
"""
