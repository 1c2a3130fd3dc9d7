"""Count the type checker's errors per file; fail where a file has more than the baseline allows, renew it where fewer.

    python tools/check_types.py [--renew]

The baseline (tools/types_baseline.json: {file: errors} of basedpyright's mode "basic") may only fall: --renew writes
the counts as they are and refuses a file that has grown. Needs the extra `dev`; nothing else is downloaded.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = Path(__file__).with_name("types_baseline.json")


def counted() -> Counter[str]:
    """Return {file: number of errors} for the files that have any. RuntimeError where the checker itself fails."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"basedpyright failed: {done.stderr.strip() or done.stdout[:500]}")
    found = json.loads(done.stdout)["generalDiagnostics"]
    files = (Path(one["file"]).relative_to(ROOT).as_posix() for one in found if one["severity"] == "error")
    return Counter(files)


def grown(found: dict[str, int], allowed: dict[str, int]) -> list[str]:
    """Return one line for every file with more errors than the baseline allows."""
    return [
        f"{name}: {count} type errors, {allowed.get(name, 0)} allowed"
        for name, count in sorted(found.items())
        if count > allowed.get(name, 0)
    ]


def main() -> int:
    """Compare the errors with the baseline -> exit status, 1 where a file has more than before."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help="write the baseline anew where nothing has grown")
    renew = parser.parse_args().renew
    allowed = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.is_file() else None
    found = counted()
    worse = grown(found, allowed) if allowed is not None else []
    print(f"{found.total()} type errors, {sum((allowed or {}).values())} allowed")
    if worse:
        print("\n".join(worse))
        return 1
    if renew:
        BASELINE.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
