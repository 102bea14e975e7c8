"""`mir import, publish, sample-zip`: images and annotations in, and datasets for everybody."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mir_ops.cli.operations import (
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError, MirError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.dataset.importing import ImportResult
    from mir_ops.dataset.sources import AnnotationFormat, SourceFiles
    from mir_ops.store import Commit
    from mir_ops.taxonomy import Taxonomy

_PUBLIC: Final = "public:"
_SPLITS: Final = ("train", "val", "test")
# What either generation of YMIR calls them: the format that is read, and whether boxes alone are.
_ANNOTATION_TYPES: Final[dict[str, tuple[AnnotationFormat, bool]]] = {
    "auto": ("auto", False),
    "voc": ("voc", False),
    "coco": ("coco", False),
    "yolo": ("yolo", False),
    "det-box": ("auto", True),
    "det": ("auto", True),
    "det:voc": ("voc", True),
    "det:coco": ("coco", True),
    "det:yolo": ("yolo", True),
    "seg-poly": ("auto", False),
    "seg-mask": ("auto", False),
    "seg": ("auto", False),
    "sem-seg": ("coco", False),
    "ins-seg": ("coco", False),
    "multi-modal": ("coco", False),
    "sem-seg:coco": ("coco", False),
    "ins-seg:coco": ("coco", False),
    "multi-modal:coco": ("coco", False),
    "no-annos": ("none", False),
    "no-annos:none": ("none", False),
    "no-annotations": ("none", False),
    "none": ("none", False),
}


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_import(subparsers)
    publish = subparsers.add_parser(
        "publish",
        help="Offer a dataset version to everybody as `public:NAME`",
        description="Everybody who uses this store can then `mir import public:NAME --to BRANCH`. "
        "It is the branch `public/NAME`: publish again to renew it, delete the branch to end it.",
    )
    publish.add_argument("rev", metavar="REV", help="What to publish")
    publish.add_argument("name", metavar="NAME", help="The name to publish it under")
    publish.add_argument("-m", "--message", help="Message of the commit")
    publish.set_defaults(run=run_publish)
    sample = subparsers.add_parser(
        "sample-zip",
        help="Write an example of an archive that can be imported",
        description="Write a zip archive with a few images and their annotations, as an example.",
    )
    sample.add_argument(
        "file",
        nargs="?",
        default="sample.zip",
        metavar="FILE",
        help="Where to (default: sample.zip)",
    )
    sample.set_defaults(run=run_sample_zip)


def run_import(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.arrow import spare_pandas

    spare_pandas()
    gc.set_threshold(100_000)  # rows and names stay to the end: looking for garbage finds none
    repository = repository_of(arguments)
    source = _given_source(arguments)
    destination_of(arguments), _given_type(arguments)  # mistakes show before anything is read
    if arguments.gen_dir:
        repository.share_assets(arguments.gen_dir)
    if source.startswith(_PUBLIC):
        return _import_public(arguments, repository, source.removeprefix(_PUBLIC), output)
    with _opened(arguments, repository, source, output) as files:
        return _Import(arguments, repository, files, output).run()


def run_publish(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.publishing import publish

    repository = repository_of(arguments)
    version = repository.resolve(arguments.rev)
    commit = publish(repository.store, version, arguments.name, message=arguments.message)
    output.record(
        {"name": arguments.name, "published": version.id, "commit": commit.id},
        [f"{_PUBLIC}{arguments.name} is {version.id[:12]}: {commit.stats.assets} images"],
    )
    return 0


def run_sample_zip(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.example import write_example

    names = write_example(Path(arguments.file))
    output.record({"file": arguments.file, "entries": names}, [f"{arguments.file}:", *names])
    output.note(
        f"Try it: mir import {arguments.file} --to sample --unknown-types-strategy add\n"
        "(which declares its two classes, too)"
    )
    return 0


@dataclass(frozen=True, slots=True)
class _Import:
    """One run of the command on files that are open."""

    arguments: argparse.Namespace
    repository: Repository
    files: SourceFiles
    output: Output

    def run(self) -> int:
        from mir_ops.store import operation_id

        repository, destination = self.repository, destination_of(self.arguments)
        inputs = self._inputs(repository.declared_classes())
        report_file = self._report_file(operation_id(str(destination), inputs))
        results: list[ImportResult] = []

        def commit(op_id: str) -> Commit:
            results.append(self._import(op_id, destination.branch, report_file))
            return results[0].commit

        try:
            done = commit_once(repository, destination, "import", inputs, commit)
        except MirError:
            if report_file is not None and report_file.exists():
                self.output.note(f"Listed one by one: {report_file}")
            raise
        _learn(repository, results[0])
        lines = results[0].report.lines()
        listed = report_file is not None and report_file.exists()
        if results[0].report.issues:
            where = report_file if listed else "import with `--report FILE`"
            lines.append(f"each of them: {where}")
        extra = {
            "report": results[0].report.to_dict(),
            "report_file": str(report_file) if listed else None,
            "new_classes": list(results[0].new_classes),
        }
        say_done(self.output, done, extra, lines)
        return 0

    def _inputs(self, taxonomy: Taxonomy | None) -> dict[str, Any]:
        given = self.arguments
        kind, boxes_only = _given_type(given)
        parents = [self.repository.resolve(given.src_revs)] if given.src_revs else []
        inputs: dict[str, Any] = {
            "source": self.files.stamp(),
            "annotations": kind,
            "boxes_only": boxes_only,
            "unknown_classes": given.unknown_types_strategy,
            "split": given.split,
            "image_sets": given.image_sets,
            "parents": [commit.id for commit in parents],
        }
        if given.unknown_types_strategy == "ignore" and taxonomy is not None:
            # What is ignored today is taken tomorrow, when the label file names it.
            inputs["classes"] = [[entry.name, *entry.aliases] for entry in taxonomy.classes]
        return inputs

    def _import(self, op_id: str, branch: str, report_file: Path | None) -> ImportResult:
        from mir_ops.dataset.importing import import_dataset

        given = self.arguments
        kind, boxes_only = _given_type(given)
        return import_dataset(
            self.repository.store,
            self.files,
            branch,
            op_id=op_id,
            annotations=kind,
            boxes_only=boxes_only,
            image_sets=given.image_sets,
            link=given.link,
            unknown_classes=given.unknown_types_strategy,
            split=given.split,
            message=given.message,
            parents=[self.repository.resolve(given.src_revs)] if given.src_revs else [],
            taxonomy=self.repository.declared_classes(),
            report_file=report_file,
            on_progress=self.output.progress,
        )

    def _report_file(self, digest: str) -> Path | None:
        if self.arguments.report:
            return Path(self.arguments.report)
        folder = self.repository.folder
        return folder / "reports" / f"import-{digest[:16]}.jsonl" if folder.is_dir() else None


def _import_public(
    arguments: argparse.Namespace, repository: Repository, name: str, output: Output
) -> int:
    from mir_ops.dataset.publishing import import_public, read_published

    destination = destination_of(arguments)
    published = read_published(repository.store, name)
    labels = _given_type(arguments)[0] != "none"
    inputs = {"public": published.id, "labels": labels, "split": arguments.split}
    results: list[ImportResult] = []

    def commit(op_id: str) -> Commit:
        results.append(
            import_public(
                repository.store,
                name,
                destination.branch,
                op_id=op_id,
                labels=labels,
                split=arguments.split,
                message=arguments.message,
            )
        )
        return results[0].commit

    done = commit_once(repository, destination, "import", inputs, commit)
    _learn(repository, results[0])
    report = results[0].report
    say_done(output, done, {"report": report.to_dict()}, report.lines())
    return 0


def _learn(repository: Repository, result: ImportResult) -> None:
    """Write classes that came with an import into the label file."""
    from mir_ops.label_files import LabelFiles

    if result.new_classes and repository.labels_path.exists():
        LabelFiles(yaml=repository.labels_path).declare(result.new_classes)


@contextmanager
def _opened(
    arguments: argparse.Namespace, repository: Repository, source: str, output: Output
) -> Iterator[SourceFiles]:
    from mir_ops.dataset.downloads import fetched, is_url
    from mir_ops.dataset.network import Network
    from mir_ops.dataset.sources import named, open_files

    beside = {"gt_dir": _path(arguments.gt_dir), "pred_dir": _path(arguments.pred_dir)}
    if not is_url(source):
        index = Path(arguments.index_file) if arguments.index_file else None
        with open_files(Path(source), index_file=index, **beside) as files:
            yield files
        return
    network = Network(private=arguments.allow_private or bool(os.environ.get("MIR_ALLOW_PRIVATE")))
    with (
        fetched(
            source,
            network,
            workspace=repository.workspace,
            folder=repository.downloads,
            on_progress=output.progress,
        ) as path,
        open_files(path, **beside) as files,
    ):
        yield named(files, source)


def _given_source(arguments: argparse.Namespace) -> str:
    given = arguments.source or arguments.asset_path
    if (given is None) == (arguments.index_file is None):
        raise InvalidInputError(
            "Give one source to import",
            code="no-source",
            hint="Name an archive, a folder or a URL, or an index file with `--index-file`",
        )
    return str(given or arguments.index_file)


def _given_type(arguments: argparse.Namespace) -> tuple[AnnotationFormat, bool]:
    try:
        return _ANNOTATION_TYPES[arguments.anno_type]
    except KeyError:
        raise InvalidInputError(
            f"Annotations of type `{arguments.anno_type}` cannot be imported",
            code="bad-annotation-type",
            hint=f"Use one of {', '.join(_ANNOTATION_TYPES)}",
        ) from None


def _register_import(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "import",
        help="Import images and annotations into a dataset",
        description="Import a folder, or a zip or tar archive, with `images/` (or `JPEGImages/`) "
        "and `annotations/` (or `gt/`, `labels/`), or images alone. The images are added to the "
        "branch. What is not taken is counted and listed. The same command again, after a kill "
        "too, finishes and imports once.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="Folder, archive or index file; an archive at a `http://`, `https://` or `s3://` "
        "URL, or a folder at `s3://bucket/folder/`; or `public:NAME`, a published dataset",
    )
    _add_annotations(parser)
    _add_storage(parser)
    add_destination(parser)
    parser.set_defaults(run=run_import)


def _add_annotations(parser: argparse.ArgumentParser) -> None:
    """Where images and annotations are, and what they are."""
    add = parser.add_argument
    add("--asset-path", dest="asset_path", metavar="SOURCE", help=argparse.SUPPRESS)
    add("--index-file", metavar="FILE", help="List of image paths, one a line")
    add("--gt-dir", "--annotation-dir", metavar="DIR", help="Annotation files of the images")
    add("--pred-dir", metavar="DIR", help="Prediction files of the images")
    add(
        "--anno-type",
        "--anno-type-fmt",
        dest="anno_type",
        default="auto",
        metavar="TYPE",
        help="voc, coco, yolo, or what the files are (default); det-box takes boxes alone, "
        "seg-poly and seg-mask all shapes, no-annos images alone",
    )
    add(
        "--unknown-types-strategy",
        choices=("stop", "ignore", "add"),
        default="stop",
        help="Classes that `labels.yaml` lacks: stop (default), ignore their objects, or add them",
    )
    add(
        "--ignore-unknown-types",
        dest="unknown_types_strategy",
        action="store_const",
        const="ignore",
        help="The same as `--unknown-types-strategy ignore`",
    )
    add("--split", choices=_SPLITS, help="What the images are for")
    add("--image-sets", action="store_true", help="Take splits from `ImageSets/Main/train.txt` …")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    """Where images go, and what is written down."""
    add = parser.add_argument
    add(
        "--gen-dir",
        "--media-location",
        dest="gen_dir",
        metavar="DIR",
        help="Keep images here, also for other repositories; remembered",
    )
    add("--link", action="store_true", help="Link image files instead of copying, where possible")
    add(
        "--allow-private",
        action="store_true",
        help="Fetch from addresses of this network, too (also: MIR_ALLOW_PRIVATE=1)",
    )
    add("--src-revs", "--src-rev", dest="src_revs", metavar="REV", help="Record this as parent")
    add("--report", metavar="FILE", help="List here what was not taken, a line of JSON each")
    add("--dataset-name", metavar="X", help=argparse.SUPPRESS)  # of YMIR 1: the branch names it


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
