"""A thousand damaged data files: none runs code, hangs, takes the memory, or ends in an error that does not name it."""

from pathlib import Path

import pytest

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")
pytest.importorskip("PIL")

import data_cases
from mutations import counts, faults, survey

CASES = 1_000


@pytest.mark.slow
def test_damaged_data_files_are_read_or_refused(tmp_path):
    done = survey(data_cases.make, CASES, tmp_path)
    assert len(done) == CASES and not faults(done), "\n".join(faults(done)[:40])
    assert counts(done)["refused"] > CASES / 3 and counts(done)["read"] > CASES / 20


def test_undamaged_files_are_read(tmp_path):
    for name, content in data_cases.originals().items():
        (tmp_path / Path(name).suffix[1:]).mkdir(exist_ok=True)
        path = tmp_path / Path(name).suffix[1:] / name
        path.write_bytes(content)
        data_cases.prepared(path)
        path.unlink()
