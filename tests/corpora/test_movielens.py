import pytest

from lmexp.corpora.movielens import MovieLens

RATINGS = """userId,movieId,rating,timestamp
1,10,4.0,30
1,11,5.0,10
1,12,3.5,20
1,13,4.5,40
1,14,4.0,50
1,15,4.0,60
2,10,5.0,1
2,11,5.0,2
2,12,5.0,3
"""
MOVIES = """movieId,title,genres
10,"Ten, The (2010)",Drama
11,Eleven (2011),Drama
12,Twelve (2012),Drama
13,Thirteen (2013),Drama
14,Fourteen (2014),Drama
15,Fifteen (2015),Drama
"""


def corpus(root, **changes):
    options = {"ratings": "ratings.csv", "movies": "movies.csv", "liked": 4.0, "history": 2}
    return MovieLens(**(options | changes), root=str(root))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "movies.csv").write_text(MOVIES)
    return tmp_path


def test_a_pair_is_what_a_user_liked_before_and_the_next_film(folder):
    found = {
        split: [pair[:2] for pair in corpus(folder).pairs(split)]
        for split in ("train", "val", "test")
    }

    assert found == {  # liked in this order: 11, 10, 13, 14, 15; 12 got 3.5
        "train": [
            ("Eleven (2011)", "Ten, The (2010)"),
            ("Eleven (2011) | Ten, The (2010)", "Thirteen (2013)"),
        ],
        "val": [("Ten, The (2010) | Thirteen (2013)", "Fourteen (2014)")],
        "test": [("Thirteen (2013) | Fourteen (2014)", "Fifteen (2015)")],
    }


def test_a_user_with_too_few_films_is_counted(folder):
    own = corpus(folder)

    list(own.pairs("train"))

    assert own.counts == {"user who liked fewer than four films": 1}


def test_what_counts_as_liked_decides_the_text(folder):
    assert corpus(folder).fingerprint() != corpus(folder, liked=3.5).fingerprint()
    assert [pair[0] for pair in corpus(folder, liked=3.5, history=9).pairs("test")] == [
        "Eleven (2011) | Twelve (2012) | Ten, The (2010) | Thirteen (2013) | Fourteen (2014)"
    ]


def test_a_file_without_the_columns_is_refused(folder):
    (folder / "ratings.csv").write_text("user,film\n1,2\n")

    with pytest.raises(ValueError, match=r"ratings.csv has no column userId, .* but user, film"):
        list(corpus(folder).pairs("train"))


@pytest.mark.parametrize(
    ("file", "was", "now", "told"),
    [
        ("ratings.csv", "1,11,5.0,10", "1,99,5.0,10", r"line 3: movieId '99' is not in .*movies"),
        ("ratings.csv", "1,11,5.0,10", "1,11,five,10", r"line 3: rating is 'five', not a number"),
        ("ratings.csv", "1,11,5.0,10", "1,11", r"ratings.csv, line 3"),
        ("movies.csv", "Eleven", "\udcff", r"movies.csv.*UTF-8"),
    ],
)
def test_a_mistake_in_a_file_says_where_it_is(folder, file, was, now, told):
    text = (folder / file).read_text().replace(was, now)
    (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ValueError, match=told):
        list(corpus(folder).pairs("train"))


def test_what_was_rated_in_one_second_is_in_no_order_that_tells_something(folder):
    names = [f"{number:02}" for number in range(20)]
    (folder / "movies.csv").write_text("movieId,title\n" + "".join(f"{n},{n}\n" for n in names))
    rated = "".join(f"{user},{name},5,1\n" for user in "ab" for name in names)
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rated}")

    orders = [[*p.source.split(" | "), p.target] for p in corpus(folder, history=20).pairs("test")]

    assert [sorted(order) for order in orders] == [names, names]
    assert orders[0] != orders[1]
    assert names not in orders


def test_the_real_files_give_a_test_pair_a_user(data_folder):
    own = corpus(data_folder("movielens_small"), history=10)

    pairs = list(own.pairs("test"))

    assert len(pairs) + own.counts["user who liked fewer than four films"] <= 671  # users
    assert len(pairs) == len(list(own.pairs("val"))) > 600
