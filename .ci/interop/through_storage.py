"""Runs the PromQL scripts with what was loaded flushed and compacted before each evaluation.

The runner of the scripts only knows GET; the server flushes and compacts for POST alone. Arguments as promqltest.py's.
"""

import os
import sys

sys.path.insert(0, os.environ["CONFORMANCE_DIR"])
sys.dont_write_bytecode = True

import promqltest  # noqa: E402

STEPS = ["/api/v1/admin/storage/flush", "/api/v1/admin/storage/compact"]


def main():
    load = promqltest.Runner.load

    def load_and_store(self, client, command):
        load(self, client, command)
        for path in STEPS:
            status, body = client.request("POST", path)
            if status != 200:
                raise RuntimeError(f"POST {path}: {status} {body[:300]}")

    promqltest.Runner.load = load_and_store
    return promqltest.main()


if __name__ == "__main__":
    sys.exit(main())
