"""Takes archives into a server's own folder, so that the bytes that are served were checked.

An archive is copied first, and then the copy is checked: nobody but the server's own user can write
where it lies. A hard link would share its bytes with whoever can write to the original, before the
check, after it, or while TorchServe unpacks. Where the file system can, the copy shares its blocks
with the original until one of them is written to, and costs nothing; elsewhere it is read and
written once more, and lies on the disk twice.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from marsmith.archive import signing
from marsmith.archive.reading import Checked, Named, check
from marsmith.errors import ArchiveError
from marsmith.serving.host.run_folder import state_folder

INCOMING = "incoming"
FICLONE = 0x40049409
"""Linux's request for a copy that shares its blocks, where Python's `fcntl` doesn't know it."""


@contextmanager
def taken(
    archives: Mapping[str, Named],
    run_dir: Path,
    trust: Sequence[Path] | None,
    say: Callable[[str], None],
    before: Path | None = None,
) -> Iterator[dict[str, Path]]:
    """Take archives in.

    Args:
        archives: by the names of their models.
        run_dir: the server's folder.
        trust: public keys, or folders of them, one of which must have signed each archive; empty
            for those of `policy` alone; None where who serves them has made them, and pins each.
        say: takes a line about each.
        before: an archive in it that was taken in before, and is not taken in again.

    Yields:
        The checked copies, by the names of their models, until the block ends: whoever keeps one
        longer links it.

    Raises:
        ArchiveError: one is not a sound archive, not the one that was named, not signed by
            whoever is trusted, or neither asked for a signature nor pinned.
    """
    incoming = run_dir / INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(mode=0o700, parents=True)
    try:
        kept = {}
        for name, archive in archives.items():
            source = archive.path.resolve()
            if before is not None and source == before.resolve():
                kept[name] = source
                continue
            if trust is None and not archive.sha256:
                raise ArchiveError(
                    f"{source} is named without its SHA-256, and its signature isn't asked for",
                    "name it as NAME@sha256:DIGEST",
                )
            kept[name] = incoming / f"{name}.mar"
            found = _take(name, Named(source, archive.sha256), kept[name])
            by = [] if trust is None else signers(source, trust, kept[name])
            say(_told(name, found, by))
        yield kept
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def policy() -> Path:
    """The folder whose keys all servers of this user ask for, if it is there."""
    return state_folder() / "trust"


def signers(archive: Path, trust: Sequence[Path] = (), held: Path | None = None) -> list[str]:
    """Who has signed an archive, of those whose signature is asked for.

    Args:
        archive: a file with its bundle beside it.
        trust: as for `taken`.
        held: a copy of the archive, that is read in its place.

    Raises:
        ArchiveError: one is missing.
    """
    asked = [list(trust)] if trust else []
    asked += [[policy()]] if policy().exists() else []
    return [signing.signer(archive, each, held).name for each in asked]


def _take(name: str, archive: Named, copy: Path) -> Checked:
    """Copy an archive, and check the copy."""
    try:
        _copy(archive.path, copy)
    except OSError as error:
        raise ArchiveError(
            f"{archive.path} can't be copied to {copy.parent}: {error.strerror}",
            "a server keeps a copy of each archive: the state folder, $MARSMITH_STATE, needs room",
        ) from error
    found = check(archive, held=copy)
    if found.said.model.get("modelName") != name:
        raise ArchiveError(f"{archive.path} holds another model than {name!r} by now")
    return found


def _told(name: str, found: Checked, signers: Sequence[str]) -> str:
    by_hand = "" if found.said.sums else ", packed by hand: it lists no SHA-256 of its files"
    signed = f", signed by {' and '.join(signers)}" if signers else ""
    return f"{name}: sha256 {found.sha256}{signed}{by_hand}"


def _copy(archive: Path, copy: Path) -> None:
    with archive.open("rb") as source, copy.open("xb") as target:
        copy.chmod(0o600)
        try:
            fcntl.ioctl(target, FICLONE, source.fileno())
        except OSError:  # another file system, or one without shared blocks
            shutil.copyfileobj(source, target, 1 << 20)
