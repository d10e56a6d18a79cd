"""Internals of Ray Core: the free resources of each machine, and the address of a cluster that runs here.

- `available_resources_per_node`: free CPUs and GPUs by node ID. The public API has only totals of a node and free
  resources of the whole cluster. With those, a node that others use would count as free.
- `read_ray_address`: the address that a cluster on this machine has written down; None where there is none. Without it,
  `ray.init(address="auto")` waits for minutes for a cluster that was killed.
- `HEAD`: resource of the head node, of which there is one. Tune's waiting actors hold a little of it, so that they run
  on the head. Without it they would hold CPUs, or run on machines that come and go.
"""

from ray._private.state import available_resources_per_node
from ray._private.utils import read_ray_address

__all__ = ["HEAD", "available_resources_per_node", "read_ray_address"]

HEAD = "node:__internal_head__"
