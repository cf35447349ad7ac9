"""Molecules for pre-training: a file of SMILES becomes vocabularies and shards, and shards become batches.

Shards are read at random through the page cache, so that every epoch has one order of all molecules and a run can
begin at any step. They must lie on a local disk: 1.2 kB a molecule, and 24 bytes of memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from recsys_ssl import artifacts, seeds
from recsys_ssl.artifacts import REJECTED_FILE
from recsys_ssl.encoders.molecule.contexts import ContextVocabulary, count_contexts
from recsys_ssl.encoders.molecule.files import read_smiles
from recsys_ssl.encoders.molecule.graph import batch_molecules
from recsys_ssl.encoders.molecule.grover_pretrain import NO_TARGET, PretrainBatch
from recsys_ssl.encoders.molecule.labels import MAX_CLASSES, LabelledMolecule, label_all, unpack
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.molecule.smiles import Rejection
from recsys_ssl.seeds import ShardStream

SHARD_ROWS = 32_768
"""SMILES of a shard, about 40 MB; what a killed run loses of its preparation."""
ATOM_VOCABULARY_FILE, BOND_VOCABULARY_FILE = "atom_vocabulary.json", "bond_vocabulary.json"
_SUMMARY_FILE = "summary.json"
_FORMAT = 1
_TELL_EVERY = 2_000

Tell = Callable[[int, int], None]
"""Called now and then with the number of SMILES done and of all."""


# --- From SMILES to shards -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of a file of SMILES."""

    num_smiles: int
    num_train: int
    num_validation: int
    rejected: dict[str, int]
    """Reason -> SMILES that gave no molecule for it."""


def prepare(
    smiles_file: str | os.PathLike,
    directory: str | os.PathLike,
    config: PretrainConfig,
    workers: int = 1,
    tell_count: Tell = lambda *_: None,
    tell_write: Tell = lambda *_: None,
    column: Optional[str] = None,
) -> PretrainData:
    """Counts the vocabularies, then writes shards of labelled molecules; goes on where an earlier call was killed.

    A subdirectory is taken by the SMILES and the settings that matter here, so that other runs share it. Rejected
    SMILES are written to `rejected.jsonl` there: the row counts the SMILES of the file from 0, without its header.

    Args:
        workers: processes; see `recsys_ssl.encoders.molecule.smiles.featurise_all`.
        column: of the SMILES; None: see `files`.

    Raises:
        ValueError: more than config.max_rejected_share of the SMILES give no molecule, or there are none, or see
            `files.read_smiles`.
    """
    num_smiles, digest = _fingerprint(read_smiles(smiles_file, column))
    facts = [_FORMAT, digest, config.min_count, config.validation_share]
    directory = Path(directory, hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16])
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / REJECTED_FILE).exists():
        counts = count_contexts(_told(read_smiles(smiles_file, column), num_smiles, tell_count), workers)
        for name, contexts in ((ATOM_VOCABULARY_FILE, counts.atoms), (BOND_VOCABULARY_FILE, counts.bonds)):
            vocabulary = ContextVocabulary.from_counts(contexts, config.min_count, MAX_CLASSES - 2)
            artifacts.write_text(directory / name, vocabulary.to_json())
        lines = (json.dumps(rejection._asdict()) + "\n" for rejection in counts.rejections)
        artifacts.write_text(directory / REJECTED_FILE, "".join(lines))
    rejected = _check_rejected(num_smiles, config.max_rejected_share, directory / REJECTED_FILE)
    if not (directory / _SUMMARY_FILE).exists():
        num_train, num_validation = _write_shards(
            read_smiles(smiles_file, column), directory, config.validation_share, num_smiles, workers, tell_write
        )
        summary = Summary(num_smiles, num_train, num_validation, rejected)
        artifacts.write_text(directory / _SUMMARY_FILE, artifacts.to_json(summary))
    return PretrainData(directory)


def _fingerprint(smiles: Iterable[str]) -> tuple[int, str]:
    num_smiles, digest = 0, hashlib.sha256()
    for text in smiles:
        digest.update(text.encode() + b"\n")
        num_smiles += 1
    return num_smiles, digest.hexdigest()


def _check_rejected(num_smiles: int, max_share: float, path: Path) -> dict[str, int]:
    """Reason -> number of the rejected SMILES in `path`, if they are not too many."""
    rejected: Counter[str] = Counter()
    first: list[str] = []
    with open(path, encoding="utf-8") as file:
        for rejection in map(json.loads, file):
            rejected[rejection["reason"]] += 1
            if len(first) < 3:
                first.append(f"{rejection['smiles']!r:.60}")
    if rejected.total() == num_smiles or rejected.total() > max_share * num_smiles:
        raise ValueError(
            f"at most {max_share:.1%} of the SMILES may be rejected, and not all. Received: {rejected.total():,} of "
            f"{num_smiles:,} ({dict(rejected) or 'the file is empty'}), the first {', '.join(first) or 'none'}; they "
            f"are listed in {path}. Mend the file, name the right column by --column, or raise "
            "pretrain.max_rejected_share."
        )
    return dict(rejected)


def _told(smiles: Iterable[str], num_smiles: int, tell: Tell, first: int = 0) -> Iterator[str]:
    for row, text in enumerate(smiles, start=first):
        if row % _TELL_EVERY == 0:
            tell(row, num_smiles)
        yield text


def _write_shards(
    smiles: Iterator[str],
    directory: Path,
    validation_share: float,
    num_smiles: int,
    workers: int,
    tell: Tell,
) -> tuple[int, int]:
    """The numbers of molecules to train on and to validate on, of older shards too."""
    shards = [Shard(path) for path in _list_shards(directory)]
    next_row = sum(shard.num_rows for shard in shards)
    ours, theirs = itertools.tee(_told(itertools.islice(smiles, next_row, None), num_smiles, tell, next_row))
    labelled = zip(ours, label_all(theirs, *_read_vocabularies(directory), workers))
    while rows := list(itertools.islice(labelled, SHARD_ROWS)):
        kept = [(text, result) for text, result in rows if not isinstance(result, Rejection)]
        is_validation = [is_held_out(text, validation_share) for text, _ in kept]
        path = directory / f"shard-{next_row:012d}.bin"
        artifacts.write_bytes(path, _pack_shard([packed for _, packed in kept], is_validation, len(rows)))
        shards.append(Shard(path))
        next_row += len(rows)
    num_validation = sum(int(shard.is_validation.sum()) for shard in shards)
    return sum(len(shard) for shard in shards) - num_validation, num_validation


def is_held_out(smiles: str, validation_share: float) -> bool:
    """Whether a hash of the text says that a molecule is one to validate on; the same in every file and run."""
    number = int.from_bytes(hashlib.blake2b(smiles.encode(), digest_size=8).digest(), "little")
    return number < validation_share * 2.0**64


def _pack_shard(records: Sequence[bytes], is_validation: Sequence[bool], num_rows: int) -> bytes:
    """The numbers of molecules and of rows, the molecules' offsets and whether they are to validate on, then they."""
    offsets = np.cumsum([0, *map(len, records)], dtype="<i8")
    header = np.array([len(records), num_rows], "<i8")
    return b"".join([header.tobytes(), offsets.tobytes(), np.array(is_validation, np.uint8).tobytes(), *records])


class Shard:
    """One file of packed molecules, mapped into memory."""

    def __init__(self, path: Path):
        self._bytes = np.memmap(path, np.uint8, "r")
        num_molecules, self.num_rows = self._bytes[:16].view("<i8").tolist()
        flags_at = 16 + 8 * (num_molecules + 1)
        self._first_record = flags_at + num_molecules
        self._offsets = np.array(self._bytes[16:flags_at]).view("<i8")
        self.is_validation = np.array(self._bytes[flags_at : self._first_record], bool)
        """[num_molecules] bool."""

    def __len__(self) -> int:
        return len(self.is_validation)

    def __getitem__(self, index: int) -> LabelledMolecule:
        start, stop = self._first_record + self._offsets[index : index + 2]
        return unpack(self._bytes[start:stop].tobytes())


def _list_shards(directory: Path) -> list[Path]:
    return sorted(directory.glob("shard-*.bin"))


def _read_vocabularies(directory: Path) -> tuple[ContextVocabulary, ContextVocabulary]:
    texts = ((directory / name).read_text(encoding="utf-8") for name in (ATOM_VOCABULARY_FILE, BOND_VOCABULARY_FILE))
    atoms, bonds = map(ContextVocabulary.from_json, texts)
    return atoms, bonds


# --- From shards to batches ------------------------------------------------------------------------------


class PretrainData:
    """Prepared molecules, their vocabularies and their batches."""

    def __init__(self, directory: Path):
        self.directory, self.name = directory, directory.name
        self.atom_vocabulary, self.bond_vocabulary = _read_vocabularies(directory)
        self.files = {
            ATOM_VOCABULARY_FILE: self.atom_vocabulary.to_json(),
            BOND_VOCABULARY_FILE: self.bond_vocabulary.to_json(),
        }
        self.summary = artifacts.from_json(Summary, artifacts.read_text(directory / _SUMMARY_FILE))
        self._shards = [Shard(path) for path in _list_shards(directory)]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        is_validation = np.concatenate([shard.is_validation for shard in self._shards])
        self._train, self._validation = np.flatnonzero(~is_validation), np.flatnonzero(is_validation)
        self._epoch: tuple[tuple[int, int], np.ndarray] | None = None

    def train_batch(self, config: PretrainConfig, step: int) -> PretrainBatch:
        """The batch of a step, counted from 0; epochs are shuffled anew, the last molecules of each are left out."""
        steps_per_epoch = len(self._train) // config.batch_size
        epoch, place = divmod(step, steps_per_epoch)
        if self._epoch is None or self._epoch[0] != (config.seed, epoch):
            order = seeds.generator(ShardStream.ORDER, config.seed, epoch).permutation(self._train)
            self._epoch = (config.seed, epoch), order
        rows = self._epoch[1][place * config.batch_size : (place + 1) * config.batch_size]
        return self._batch(rows, config.mask_rate, seeds.generator(ShardStream.TRAIN_TARGETS, config.seed, step))

    def validation_batches(self, config: PretrainConfig) -> list[PretrainBatch]:
        """At most config.validation_size molecules, with targets drawn once; all in memory."""
        rows = seeds.generator(ShardStream.VALIDATION, config.seed).permutation(self._validation)
        rows = rows[: config.validation_size]
        batches = []
        for i in range(0, len(rows), config.batch_size):
            rng = seeds.generator(ShardStream.VALIDATION_TARGETS, config.seed, i)
            batches.append(self._batch(rows[i : i + config.batch_size], config.mask_rate, rng))
        return batches

    def _batch(self, rows: np.ndarray, mask_rate: float, rng: np.random.Generator) -> PretrainBatch:
        shards = np.searchsorted(self._ends, rows, side="right")
        molecules = [
            self._shards[shard][row - self._ends[shard] + len(self._shards[shard])] for shard, row in zip(shards, rows)
        ]
        return make_batch(molecules, mask_rate, rng)


def make_batch(molecules: Sequence[LabelledMolecule], mask_rate: float, rng: np.random.Generator) -> PretrainBatch:
    """Lays molecules flat and draws their targets."""
    batch = batch_molecules([molecule.graph for molecule in molecules])
    bond_molecules = batch.molecules[batch.sources[::2]]

    def draw_classes(parts: list[np.ndarray], owners: np.ndarray) -> np.ndarray:
        flat = np.full(len(owners), NO_TARGET, np.int32)
        flat[: sum(map(len, parts))] = np.concatenate(parts)
        flat[~draw_targets(owners, len(molecules), mask_rate, rng)] = NO_TARGET
        return flat

    return PretrainBatch(
        molecules=batch,
        atom_classes=draw_classes([molecule.atom_classes for molecule in molecules], batch.molecules),
        bond_classes=draw_classes([molecule.bond_classes for molecule in molecules], bond_molecules),
        motifs=np.stack([molecule.motifs for molecule in molecules]),
    )


def draw_targets(owners: np.ndarray, num_molecules: int, mask_rate: float, rng: np.random.Generator) -> np.ndarray:
    """Chooses a share of the rows of each molecule uniformly: of n rows ceil(mask_rate * n).

    Args:
        owners: [num_rows] int molecule of each row; `num_molecules` for padding, of which none is chosen.

    Returns:
        [num_rows] bool.
    """
    sizes = np.bincount(owners, minlength=num_molecules + 1)
    # The rate of a whole number of rows may be a hair above it: 0.1 * 30 > 3.
    quotas = np.ceil(mask_rate * sizes - 1e-9)
    quotas[num_molecules] = 0
    order = np.lexsort((rng.random(len(owners)), owners))
    places = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.empty(len(owners), bool)
    chosen[order] = places < np.repeat(quotas, sizes)
    return chosen
