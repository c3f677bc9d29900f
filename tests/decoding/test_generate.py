import pytest
import torch
from bigram import Bigram, bigram, chain

from lmexp.decoding.generate import generate
from lmexp.decoding.sampling import Sampling

GREEDY = Sampling(temperature=0.0, max_new_tokens=5)


def letters(ids):
    """Token 0 is a, 1 is b, ..."""
    return "".join(chr(ord("a") + token_id) for token_id in ids)


def continued(network, prompts, sampling, **options):
    defaults = {"eos_id": 99, "pad_id": 0, "forbidden_ids": ()}
    return generate(network, prompts, sampling, **(defaults | options))


def test_greedy_follows_the_most_probable_chain():
    assert continued(chain(9), [[2]], GREEDY) == [[3, 4, 5, 6, 7]]


def test_prompts_of_unequal_length_go_on_from_their_own_last_token():
    prompts = [[2], [7, 7, 1, 4], [5, 3]]

    assert continued(chain(9), prompts, GREEDY) == [
        [3, 4, 5, 6, 7],
        [5, 6, 7, 8, 0],
        [4, 5, 6, 7, 8],
    ]


def test_a_row_ends_at_eos_which_is_not_returned():
    assert continued(chain(9), [[2], [5]], GREEDY, eos_id=6) == [[3, 4, 5], []]


def test_generation_stops_reading_when_all_rows_have_ended():
    network = chain(9)

    continued(network, [[2], [3]], Sampling(temperature=0.0, max_new_tokens=100), eos_id=6)

    assert network.columns_read == [1] * 4  # the prompt, then 3, 4 and 5


def test_cached_generation_reads_every_token_once_and_uncached_all_again():
    network = chain(9)

    cached = continued(network, [[2, 3]], GREEDY)
    read_cached, network.columns_read = network.columns_read, []
    uncached = continued(network, [[2, 3]], GREEDY, cached=False)

    assert cached == uncached
    assert read_cached == [2, 1, 1, 1, 1]
    assert network.columns_read == [2, 3, 4, 5, 6]


def test_a_network_without_step_generates_by_whole_passes():
    class Whole(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.hidden, self.output, self.forward = network.hidden, network.output, network.forward

    prompts = [[2], [7, 7, 1, 4]]

    assert continued(Whole(chain(9)), prompts, GREEDY) == continued(chain(9), prompts, GREEDY)


def test_batch_mates_change_nothing():
    network = Bigram(torch.randn(11, 11, generator=torch.Generator().manual_seed(0)))
    sampling = Sampling(max_new_tokens=12, seed=5, top_p=0.9)
    prompts = [[1], [2, 3, 4], [5, 6], [7]]

    together = continued(network, prompts, sampling, eos_id=10)
    alone = [
        continued(network, [prompt], sampling, eos_id=10, first_row=row)[0]
        for row, prompt in enumerate(prompts)
    ]

    assert together == alone
    assert len({tuple(row) for row in together}) == 4


def test_the_same_prompt_in_two_rows_gives_two_samples():
    first, second = continued(
        bigram(0.25, 0.25, 0.25, 0.25), [[0], [0]], Sampling(max_new_tokens=20)
    )

    assert first != second


def test_a_stop_string_is_found_across_token_borders():
    ids = continued(
        chain(9), [[1]], Sampling(temperature=0.0, max_new_tokens=7, stop=("ef",)), decode=letters
    )

    assert ids == [[2, 3, 4, 5]]  # c d e f


def test_a_stop_string_in_the_prompt_ends_nothing():
    ids = continued(
        chain(9),
        [[1, 2]],
        Sampling(temperature=0.0, max_new_tokens=2, stop=("bc",)),
        decode=letters,
    )

    assert ids == [[3, 4]]


def test_stop_strings_without_decode_are_refused():
    with pytest.raises(ValueError, match="decode"):
        continued(chain(9), [[1]], Sampling(stop=("x",)))


def test_reserved_ids_are_never_sampled_unless_allowed():
    network = bigram(*[1 / 9] * 9)

    (ids,) = generate(network, [[2]], Sampling(max_new_tokens=300), eos_id=3, pad_id=0)
    rows = generate(network, [[2]] * 99, Sampling(max_new_tokens=5), eos_id=3, pad_id=0)

    assert set(ids) | {token_id for row in rows for token_id in row} == {1, 7, 8}


def test_tokens_are_reported_as_they_come():
    seen = []

    rows = continued(
        chain(9),
        [[2], [4]],
        GREEDY,
        eos_id=7,
        on_token=lambda *token: seen.append(token),
        first_row=6,
    )

    assert rows == [[3, 4, 5, 6], [5, 6]]
    assert seen == [(6, 3), (7, 5), (6, 4), (7, 6), (6, 5), (6, 6)]


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt 1 has no token"):
        continued(chain(9), [[1], []], GREEDY)


def test_a_row_that_outgrows_the_learned_positions_goes_on_with_its_newest_half():
    network = chain(30)
    network.max_length = 6

    (ids,) = continued(network, [[1, 2, 3]], Sampling(temperature=0.0, max_new_tokens=12))

    assert ids == list(range(4, 16))
    # 1, 2 and 3, then 4 to 6; with 7 the window begins again with 5, 6 and 7, with 11 with 9 to 11
    assert network.columns_read == [3, 1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1]


def test_whole_passes_see_the_windows_that_the_cache_holds():
    network = chain(30)
    network.max_length = 6
    sampling = Sampling(temperature=0.0, max_new_tokens=12)

    continued(network, [[1, 2, 3]], sampling, cached=False)

    assert network.columns_read == [3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 6]


def test_of_a_prompt_beyond_the_learned_positions_the_newest_tokens_are_read():
    network = chain(30)
    network.max_length = 6

    assert continued(network, [list(range(20))], GREEDY) == [[20, 21, 22, 23, 24]]
    assert network.columns_read[0] == 6


def test_one_learned_position_is_enough_to_generate():
    network = chain(30)
    network.max_length = 1

    assert continued(network, [[1, 2]], GREEDY) == [[3, 4, 5, 6, 7]]


def test_a_network_with_damaged_weights_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        continued(Bigram(torch.full((3, 3), torch.nan)), [[1]], GREEDY)


def test_dropout_is_off_during_generation_and_the_mode_is_put_back():
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), chain(9))
    modes = []
    network.hidden = lambda ids, mask=None: modes.append(network.training) or network[1].hidden(ids)
    network.output = network[1].output
    network.train()

    continued(network, [[1]], GREEDY)

    assert modes == [False] * 5
    assert network.training
