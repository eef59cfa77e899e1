"""An output that --shard runs have filled, and whose last run did not come to its end."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.file_names import PLAN
from pixmix_cli.outputs.output import open_output
from pixmix_cli.outputs.run_plan import RunPlan, look
from pixmix_cli.pipelines.bake import completion as bake_completion
from pixmix_cli.pipelines.bake.settings import check_settings
from pixmix_cli.pipelines.finish import write_manifest
from pixmix_cli.pipelines.mixing_sets import completion as mixing_sets_completion
from pixmix_cli.storage.remote import Url

# what each command says of its outputs' end
COMPLETIONS = {
    "generate-fractals": mixing_sets_completion.COMPLETION,
    "render-featvis": mixing_sets_completion.COMPLETION,
    "bake": bake_completion.COMPLETION,
}


def finish_left_over(path: Path, elsewhere: Url | None = None) -> None:
    """Finish an output whose parts are all done, and whose last one did not come to its end.

    elsewhere  the output, where `path` is its mirror
    raises     InputError when it is no such output, when parts are missing or still at work
    """
    state = look(path)
    if state.status == "finished":
        return
    whole = state.whole
    if state.plan is None or whole is None:
        raise InputError(
            f"{path} is not the unfinished work of --shard runs",
            "the command that makes it, with --resume",
        )
    run = RunPlan.from_manifest(state.plan)
    try:
        completion = COMPLETIONS[run.command]
        next(completion.gaps(path, run, whole), None)  # fails where counts are missing or absurd
    except (ValueError, KeyError, ArithmeticError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path / PLAN} is damaged: whole.layout: {reason}", "one of its --shard runs again"
        ) from None
    if run.command == "bake":
        check_settings(state.plan, path)
    here = Destination(path, elsewhere, resume=True)
    beyond = partial(completion.beyond, whole)
    with open_output(here, run, whole, beyond=beyond) as output:
        gaps = list(completion.gaps(output.path, run, whole))
        if gaps:
            raise InputError(
                f"{path} is not complete: {_shown(gaps)}",
                "its --shard runs again; what is there is not made again",
            )
        write_manifest(output, whole, completion)


def _shown(gaps: list[str]) -> str:
    names = ", ".join(gaps[:3]) + (", ..." if len(gaps) > 3 else "")
    return f"{len(gaps)} missing ({names})"
