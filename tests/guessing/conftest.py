"""A small log in the form of `recsys-ssl data movielens-100k`."""

import pytest

GENRES = ("Action", "Comedy", "Drama", "Horror")
WORDS = ("Night", "Train", "Étoile", "Summer", "King", "River", "Stone", "Garden")
DAY_S = 86_400


@pytest.fixture(scope="session")
def movielens(tmp_path_factory):
    """The directory of a log of 40 users and 30 films, each user in a week of their own."""
    directory = tmp_path_factory.mktemp("movielens")
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for film in range(1, 31):
        title = f"The {WORDS[film % 8]} {WORDS[film // 8]} of {WORDS[film % 5]}"
        genres = " ".join(sorted({GENRES[film % 4], GENRES[film % 3]}))
        films.append(f"{film}\t{title}\t{1960 + film % 10}\t{genres}")
    users = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(1, 41):
        users.append(
            f"{user}\t{18 + user}\t{'MF'[user % 2]}\t{('writer', 'doctor', 'other')[user % 3]}\t0{2000 + user % 9}"
        )
        for number in range(20):
            time = 880_000_000 + user * 7 * DAY_S + number * 300
            ratings.append(f"{user}\t{1 + (user * 7 + number * 11) % 30}\t{1 + (user + number * number) % 5}\t{time}")
    for suffix, lines in (("inter", ratings), ("item", films), ("user", users)):
        (directory / f"ml-100k.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory
