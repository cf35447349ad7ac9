"""Batches of a log in memory, as rows and rejects."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.logs.readers import read_batches
from recsys_ssl.spec import Files

COLUMNS = {"q": "events.query_id", "i": "events.item_id"}


def read(data, name="log.csv", rows_per_batch=1000, **files):
    """[(line, q, i)], [(reason, line, record)]"""
    data = data.encode() if isinstance(data, str) else data
    rows, rejects = [], []
    for batch in read_batches(io.BytesIO(data), name, Files(paths=["x"], **files), COLUMNS, rows_per_batch):
        rows += zip(batch.lines.tolist(), *(batch.columns[column].to_pylist() for column in COLUMNS))
        rejects += [(reject.reason, reject.line, reject.record) for reject in batch.rejects]
        assert {reject.file for reject in batch.rejects} <= {name}
    return rows, rejects


def parquet(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()
