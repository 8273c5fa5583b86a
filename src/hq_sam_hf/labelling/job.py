"""A labelling job: everything that an engine needs, in a form that can be sent to other processes and machines."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .examples import Example, ImageRecord
from .labeller import LabellerSpec
from .plan import Shard, ShardPlan
from .prompt_sources import PromptSource
from .shards import is_written, write_shard
from .sources import Source, SourceRow


@dataclass(frozen=True)
class LabellingJob:
    """What to label, how, and where the shards go.

    An engine makes each of the `missing_shards`: for each of `plan.batches(shard)` it calls
    `label_batch(job.examples(rows), labeller)`, with PyTorch on one thread, joins the records and calls `write`.

    output: a folder that all processes can write.
    duplicates: rows whose key an earlier row has, with that key.
    """

    source: Source
    prompts: PromptSource
    labeller: LabellerSpec
    plan: ShardPlan
    output: Path
    duplicates: Mapping[int, str] = field(default_factory=dict)

    def missing_shards(self) -> list[Shard]:
        """The shards that are not written yet."""
        return [shard for shard in self.plan if not is_written(self.output, shard)]

    def examples(self, rows: range) -> list[Example]:
        """The images of these rows with their prompts. What is wrong with one of them becomes its problem."""
        return [self._example(index, row) for index, row in zip(rows, self.source.read(rows))]

    def _example(self, index: int, row: SourceRow) -> Example:
        problem = row.problem
        if index in self.duplicates:
            problem = f"another image has the same key, {self.duplicates[index]!r}. Give each image its own key."
            return Example(f"{row.key} (row {index})", row.place, problem=problem)
        if problem is None:
            try:
                return self.prompts.example(row)
            except (ValueError, TypeError, KeyError) as error:
                problem = str(error)
        return Example(row.key, row.place, problem=problem)

    def write(self, shard: Shard, records: Sequence[ImageRecord]) -> None:
        """Write a shard, when all of its images are done."""
        write_shard(self.output, shard, records, self.labeller.image_options)

    def options(self) -> dict[str, Any]:
        """What the shards depend on, as JSON values. A run with other options needs another folder."""
        return {
            **self.labeller.as_options(),
            **self.prompts.as_options(),
            "images": self.plan.images,
            "keys": key_digest(self.source),
            "shard_size": self.plan.shard_size,
            "batch_size": self.plan.batch_size,
            "embeds": self.labeller.embeds,
        }


def key_digest(source: Source) -> str:
    """A digest of the keys of all images, in order."""
    digest = hashlib.sha256()
    for key in source.keys():
        digest.update(key.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def find_duplicates(source: Source) -> dict[int, str]:
    """The rows whose key an earlier row has, with the key."""
    seen: set[bytes] = set()  # digests, which take less memory than long keys
    found = {}
    for index, key in enumerate(source.keys()):
        digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        if digest in seen:
            found[index] = key
        seen.add(digest)
    return found


__all__ = ["LabellingJob", "find_duplicates", "key_digest"]
