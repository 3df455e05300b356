"""TVAE (Xu et al. 2019, arXiv:1907.00503) as its authors ship it: `python tvae.py TRAIN.csv OUT.csv ROWS SEED`.

Words and truth values are its discrete columns; numbers get its mode-specific normalisation. Its settings are its own.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import torch


def main() -> None:
    from ctgan import TVAE

    source, out, rows, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.manual_seed(seed), np.random.seed(seed), torch.set_num_threads(1)  # noqa: NPY002
    frame, start = pd.read_csv(source), time.perf_counter()
    discrete = [n for n in frame if frame[n].dtype.kind not in "iuf"]
    model = TVAE()
    model.fit(frame, discrete)
    seconds = time.perf_counter() - start
    model.sample(rows).to_csv(out, index=False)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
