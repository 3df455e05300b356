"""The fuzzers' machinery: damage is a function of the seed, and every fault is found."""

import json
import os
from pathlib import Path

import numpy as np
from mutations import Case, counts, faults, mutated, mutated_json, survey

ENDS = ["read", "refused", "raw error", "raw error", "hang", "code run", "memory", "crash", "code run", "read"]


def reads(path):
    return path.read_bytes()


def refuses(path):
    raise ValueError(f"{path} is damaged")


def names_nothing(path):
    raise ValueError("damaged")


def raises_anything(path):
    raise KeyError(path.name)


def hangs(path):
    while True:
        pass


def runs_code(path):
    os.system("true")


def takes_memory(path):
    return bytearray(3 << 30)


def dies(path):
    os._exit(3)


def writes_elsewhere(path):
    with open(path.parent.parent / "elsewhere", "w"):
        pass


READERS = [
    reads,
    refuses,
    names_nothing,
    raises_anything,
    hangs,
    runs_code,
    takes_memory,
    dies,
    writes_elsewhere,
    reads,
]


def case(folder: Path, number: int) -> Case:
    path = folder / "file"
    path.write_bytes(b"1")
    return Case(path, READERS[number], READERS[number].__name__)


def test_every_end_is_told_apart_and_the_survey_resumes_after_a_crash(tmp_path):
    (tmp_path / "in").mkdir()
    done = survey(case, len(READERS), tmp_path / "in")
    assert [number for number, *_ in done] == list(range(len(READERS)))
    assert [found.partition(":")[0] for *_, found in done] == ENDS
    assert len(faults(done)) == 7 and counts(done)["code run"] == 2
    assert "crash: exit code 3" in faults(done)[5]


def test_damage_is_a_function_of_the_seed_and_differs_between_seeds():
    content = bytes(range(256)) * 8
    made = [mutated(content, np.random.default_rng([0, i])) for i in range(100)]
    assert made == [mutated(content, np.random.default_rng([0, i])) for i in range(100)]
    assert len({*made, content}) > 95
    assert mutated(b"", np.random.default_rng(0)) is not None
    value = {"a": [1, {"b": "c"}], "d": None}
    texts = [mutated_json(value, np.random.default_rng([0, i])) for i in range(100)]
    assert texts == [mutated_json(value, np.random.default_rng([0, i])) for i in range(100)]
    assert len(set(texts)) > 50 and value == {"a": [1, {"b": "c"}], "d": None}
    assert sum(len(text) > 9_000 for text in texts) > 3  # nested deep, or a long word
    for text in texts:
        try:
            json.loads(text)
        except RecursionError:
            assert b"[" * 5_000 in text
