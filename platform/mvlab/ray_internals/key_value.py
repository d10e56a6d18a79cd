"""Internals of Ray Core: the head's key-value store, which every process of the cluster reaches.

- `_internal_kv_put`, `_internal_kv_get`, `_internal_kv_list`, `_internal_kv_del`: values of a few kilobytes, in a
  namespace of our own. An actor in their place would be one more process for every sweep (0.2 GB), and one more that
  can be lost.

The store ends with the cluster. Whoever puts a value deletes it; those of a process that was killed stay until then.
"""

from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

NAMESPACE = b"mvlab"


def put(key: str, value: bytes) -> None:
    """Set the value of a key, in place of an earlier one."""
    _internal_kv_put(key.encode(), value, namespace=NAMESPACE)


def get(key: str) -> bytes | None:
    """Return the value of a key; None if there is none."""
    value: bytes | None = _internal_kv_get(key.encode(), namespace=NAMESPACE)
    return value


def keys(prefix: str) -> list[str]:
    """Return the keys that begin with `prefix`."""
    return [key.decode() for key in _internal_kv_list(prefix.encode(), namespace=NAMESPACE)]


def delete_all(prefix: str) -> None:
    """Delete all keys that begin with `prefix`."""
    _internal_kv_del(prefix.encode(), del_by_prefix=True, namespace=NAMESPACE)
