# shellcheck shell=bash
# Sourced by the sbatch files: `run_step COMMAND ...` starts a step on all tasks and hears SLURM's warning meanwhile.
#
# 120 s before the time limit SLURM sends USR1 to this shell (--signal=B:USR1@120), which hands it to the step.
# pisam ends its optimiser step, saves with all ranks and leaves with exit code 143; then this job is queued again
# and goes on where it was. A job that you cancel gets no USR1, so it stays away. Where SLURM itself takes the nodes
# (preemption, node failure), --requeue is what brings the job back.

# Since SLURM 22.05 srun does not inherit --cpus-per-task.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

told_to_go=false
step=
trap 'told_to_go=true; [[ -z $step ]] || kill -USR1 "$step"' USR1

run_step() {
    local code=0
    if ! $told_to_go; then
        srun --kill-on-bad-exit=1 "$@" &
        step=$!
        if $told_to_go; then kill -USR1 "$step"; fi # it came between the two lines before
        wait "$step" || code=$?
        while kill -0 "$step" 2>/dev/null; do # the signal ended the wait, not the step
            code=0
            wait "$step" || code=$?
        done
        step=
    fi
    if $told_to_go && [[ $code == 0 || $code == 143 ]]; then
        scontrol requeue "$SLURM_JOB_ID"
        exit 0
    fi
    return "$code"
}
