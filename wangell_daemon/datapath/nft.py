"""Rules as text, by the nft command: once at start-up and once at the end, never in a wake."""

import shutil
import subprocess

from wangell_daemon.datapath.errors import DatapathError

__all__ = ["run_nft"]


def run_nft(*arguments: str, text: str | None = None) -> str:
    """Run nft, with `text` as its input, and return what it prints. Raises DatapathError."""
    nft = shutil.which("nft")
    if nft is None:
        raise DatapathError("nft is missing: apt-get install nftables")
    done = subprocess.run(
        [nft, *arguments], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatapathError(f"nft refused: {done.stderr.strip()}")
    return done.stdout
