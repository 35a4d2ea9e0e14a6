"""What the service costs in a day."""

from .deployment import Deployment
from .values import Values

PRICES = "https://cloud.google.com/run/pricing"
# List prices of us-central1 in August 2026, in dollars for a second: of a vCPU, a GiB (billed by instance), a GPU.
CPU_S, GIB_S = 0.000018, 0.000002
GPU_S = {"nvidia-l4": (0.0001867, 0.0002909)}  # without and with zonal redundancy
DAY_S = 86400.0


def instance_second(values: Values) -> float | None:
    """Dollars for a second of one instance; None if the price of its GPU is not known here."""
    gpu = GPU_S.get(values.gpu)
    if gpu is None:
        return None
    return gpu[values.zonal_redundancy] + values.cpu * CPU_S + values.memory_gib * GIB_S


def report(state: Deployment) -> Deployment:
    values = state.values
    second = instance_second(values)
    if second is None:
        state.shell.say(f"  Each instance is billed while it is there: {PRICES}")
        return state
    idle, most = values.min_instances * second * DAY_S, values.max_instances * second * DAY_S
    state.shell.say(f"  a day without uploads     {idle:8.2f} dollars")
    state.shell.say(f"  a day at full load        {most:8.2f} dollars, with max_instances = {values.max_instances:g}")
    state.shell.say(f"  an hour of one instance   {3600 * second:8.2f} dollars")
    state.shell.say(f"  List prices of us-central1; storage and messages come on top. {PRICES}")
    return state
