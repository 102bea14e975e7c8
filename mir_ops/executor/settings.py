"""`env.yaml` and `config.yaml`: what the executor reads first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from mir_ops.executor.jobs import Job

_MODEL_KEYS: Final = ("pretrained_model_params", "model_params_path")


def write_settings(
    job: Job, settings: Mapping[str, Any], *, model_paths: Sequence[str] | None
) -> None:
    """Write both files. The keys of the host always win over template and user."""
    _write(job, "env.yaml", environment(job))
    ours = _system_keys(job, model_paths)
    given = {key: value for key, value in settings.items() if key not in _MODEL_KEYS}
    _write(job, "config.yaml", {**given, **ours})


def environment(job: Job) -> dict[str, Any]:
    """What `env.yaml` says; the last keys of `output` are ours, older images ignore them."""
    training = job.kind == "train"
    return {
        "protocol_version": job.image.protocol,
        "task_id": job.op_id,
        "run_training": training,
        "run_mining": job.kind == "mine",
        "run_infer": not training and job.predicts,
        "manifest_file": "/img-man/manifest.yaml",
        "input": {
            "root_dir": "/in",
            "assets_dir": "/in/assets",
            "annotations_dir": "/in/annotations",
            "models_dir": "/in/models",
            "training_index_file": "/in/train-index.tsv" if training else "",
            "val_index_file": "/in/val-index.tsv" if training else "",
            "candidate_index_file": "" if training else "/in/candidate-index.tsv",
            "config_file": "/in/config.yaml",
        },
        "output": {
            "root_dir": "/out",
            "models_dir": "/out/models",
            "tensorboard_dir": "/out/tensorboard",
            "training_result_file": "/out/models/result.yaml",
            "mining_result_file": "/out/result.tsv",
            "infer_result_file": "/out/infer-result.json",
            "monitor_file": "/out/monitor.txt",
            "executor_log_file": "/out/ymir-executor-out.log",
            "embeddings_file": "/out/embeddings.parquet",
            "metrics_file": "/out/metrics.jsonl",
        },
    }


def _system_keys(job: Job, model_paths: Sequence[str] | None) -> dict[str, Any]:
    gpus = len(job.limits.gpu_ids) or job.limits.gpus
    keys: dict[str, Any] = {
        "task_id": job.op_id,
        "class_names": list(job.class_names),
        "gpu_id": ",".join(str(number) for number in range(gpus)),
        "gpu_count": gpus,
        "object_type": job.image.object_type,
    }
    if job.kind == "train":
        if model_paths:
            keys["pretrained_model_params"] = list(model_paths)
    else:
        keys["model_params_path"] = list(model_paths or ())
        keys["run_infer"] = job.predicts
        keys["run_mining"] = job.kind == "mine"
    return keys


def _write(job: Job, name: str, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    (job.inputs / name).write_text(text, encoding="utf-8")
