"""Workers as jobs of a batch system, through dask-jobqueue.

A profile is a TOML file::

    system = "slurm"            # or "pbs", "lsf"
    jobs   = 20                 # held at this number: jobs that ended are submitted again
    wait   = "2 h"              # how long the first worker may take to start
    gpu    = false              # true: one worker a job, which sees one GPU (SLURM gives it; elsewhere say so in [job])

    [job]                       # given to dask-jobqueue as it is
    cores = 1
    memory = "4 GB"
    walltime = "04:00:00"
    queue = "short"
    job_script_prologue = ["module load python"]
"""

from __future__ import annotations

import contextlib
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from studies.document import Seconds
from studies.errors import StudyError, StudyFileError
from studies.overrides import lines_of

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Profile", "batch_client", "load_profile"]

_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
_TOP_UP_SECONDS = 60.0


class Job(BaseModel):
    """What one job asks for; further keys go to dask-jobqueue as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    memory: str
    walltime: str = Field(pattern=r"^(\d+-)?\d{1,3}:\d{2}(:\d{2})?$")
    cores: int = Field(default=1, ge=1)
    processes: int = Field(default=1, ge=1)

    def seconds(self) -> int:
        """The walltime."""
        days, _, clock = self.walltime.rpartition("-")
        hours, minutes, *rest = map(int, clock.split(":"))
        return 86400 * int(days or 0) + 3600 * hours + 60 * minutes + (rest[0] if rest else 0)


class Profile(BaseModel):
    """A profile, as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    system: Literal["slurm", "pbs", "lsf"]
    jobs: int = Field(default=1, ge=1)
    wait: Seconds = "2 h"  # type: ignore[assignment]
    gpu: bool = False
    job: Job

    def arguments(self) -> dict[str, Any]:
        """Arguments of dask-jobqueue's cluster: the job, workers that end before the walltime, a GPU for each."""
        given = self.job.model_dump()
        # Workers leave before they are killed, each a little apart from the others.
        seconds = self.job.seconds()
        margin = min(300, seconds // 10)
        extra = ["--lifetime", f"{seconds - margin}s", "--lifetime-stagger", f"{margin // 2}s"]
        if self.gpu:
            extra += ["--resources", "GPU=1"]
        directives = given.get("job_extra_directives", [])
        if self.gpu and self.system == "slurm" and not any("--gres" in d or "--gpus" in d for d in directives):
            given["job_extra_directives"] = [*directives, "--gres=gpu:1"]
        # Any free port: several studies may be driven from one machine.
        given["scheduler_options"] = {"dashboard_address": ":0"} | given.get("scheduler_options", {})
        return given | {"worker_extra_args": [*given.get("worker_extra_args", []), *extra]}

    @model_validator(mode="after")
    def _one_worker_a_gpu(self) -> Profile:
        if self.gpu and self.job.processes != 1:
            raise ValueError("gpu = true means one worker a job; remove job.processes")
        return self


def load_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises
    ------
    StudyError
        Naming file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); give the path of a cluster profile") from None
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        faults = [(".".join(map(str, e["loc"])), e["msg"][:1].lower() + e["msg"][1:]) for e in error.errors()]
        raise StudyFileError(str(path), faults, lines_of(text)) from None


@contextlib.contextmanager
def batch_client(path: Path, jobs: int | None = None) -> Iterator[Client]:
    """Client of the cluster that a profile describes, kept at its number of jobs.

    Raises
    ------
    StudyError
        When dask-jobqueue is missing, the profile is wrong, or no job starts in time.
    """
    import dask
    from distributed import Client

    profile = load_profile(path)
    try:
        import dask_jobqueue
    except ImportError:
        raise StudyError("--cluster needs dask-jobqueue: pip install 'fitlab[cluster]'") from None
    count = jobs or profile.jobs
    kind = getattr(dask_jobqueue, _SYSTEMS[profile.system])
    try:
        cluster = kind(**profile.arguments())
    except (TypeError, ValueError) as error:
        raise StudyError(
            f"{path}: dask-jobqueue refuses the job ({error}); see its documentation for the keys of [job]"
        ) from None
    done = threading.Event()

    def top_up() -> None:
        while not done.wait(_TOP_UP_SECONDS):
            with contextlib.suppress(Exception):  # a busy batch system refuses at times; the next minute asks again
                cluster.scale(jobs=count)

    # Jobs at the end of their walltime take queued tasks with them, which are not to blame.
    with dask.config.set({"distributed.scheduler.allowed-failures": 10}), cluster, Client(cluster) as client:
        cluster.scale(jobs=count)
        keeper = threading.Thread(target=top_up, daemon=True)
        keeper.start()
        try:
            try:
                client.wait_for_workers(1, timeout=profile.wait)
            except TimeoutError:
                raise StudyError(f"{path}: no job started within {profile.wait:g} s; look at the queue, or raise wait") from None
            yield client
        finally:
            done.set()
            keeper.join()
