"""`python -m deploy.security`: certificates, keys and tokens; signed and encrypted releases."""

import argparse
import datetime
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from deploy.security import archive, signing
from deploy.security.certificates import DAYS, make_certificates
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from deploy.security.roles import ROLES, Role
from deploy.security.tokens import Residency, make_jwks, make_token
from shelfbridge.errors import SettingsError
from shelfbridge.program import OK, add_command, command_line, run

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_RESIDENCY = "anonymous search may leave the private site, or also search of users who are named by pseudonyms alone"


def duration(text: str) -> datetime.timedelta:
    """A time such as 30m or 1h."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no time; give for example 30m or 1h")
    return datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})


def roles(text: str) -> list[Role]:
    """Roles with commas between."""
    given = text.split(",")
    for role in given:
        if role not in ROLES:
            raise argparse.ArgumentTypeError(f"{role} is no role; there are {', '.join(ROLES)}")
    return [role for role in ROLES if role in given]


def _ca(given: Any) -> str:
    write_new(given.out, make_certificates())
    return f"Certificates for {DAYS} days are in {given.out}. For development only; keep ca.key off the servers."


def _keys(given: Any) -> str:
    write_new(given.out, make_keys())
    return f"Keys are in {given.out}. Take release.key and archive.key off the servers."


def _token(given: Any) -> str:
    return make_token(
        given.key, subject=given.subject, roles=given.roles, residency=given.residency, expires=given.expires
    )


def _jwks(given: Any) -> str:
    keys = make_jwks(given.key)
    try:
        given.out.write_text(json.dumps(keys, indent=2) + "\n")
    except OSError as error:
        raise SettingsError(f"{given.out}: {error.strerror}; give a file in a folder that can be written") from error
    return f"{given.out} holds {len(given.key)} public keys."


def _sign(given: Any) -> str:
    return f"Signed: {signing.sign(given.release, given.key)} files."


def _verify(given: Any) -> str:
    return f"As signed: {signing.verify(given.release, given.public_key)} files."


def _encrypt(given: Any) -> str:
    archive.encrypt(given.release, given.public_key, given.out)
    return f"Encrypted: {given.out}."


def _decrypt(given: Any) -> str:
    archive.decrypt(given.archive, given.key, given.out)
    return f"Decrypted: {given.out}. Verify its signature before it is served."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = command_line("deploy.security", __doc__ or "")
    commands = parser.add_subparsers(required=True)

    def command(name: str, about: str, work: Callable[[argparse.Namespace], str]) -> argparse.ArgumentParser:
        def printed(flags: argparse.Namespace) -> int:
            print(work(flags))
            return OK

        return add_command(commands, name, about, printed)

    ca = command("ca", "make a development CA and certificates of gateway, sites and a client", _ca)
    keys = command("keys", "make the keys of tokens, releases, archives and the audit log", _keys)
    for made in (ca, keys):
        made.add_argument("--out", type=Path, required=True, help="folder; no file there is ever overwritten")
    token = command("token", "print a token", _token)
    token.add_argument("--key", type=Path, required=True, help="token.key")
    token.add_argument("--subject", required=True, help="who calls: a service, never a shopper's name")
    token.add_argument("--roles", type=roles, required=True, help=f"of {', '.join(ROLES)}, with commas between")
    token.add_argument("--residency", choices=get_args(Residency), help=_RESIDENCY)
    token.add_argument("--expires", type=duration, default="1h", help="from now, as 30m or 1h (1h); a day at most")
    jwks = command("jwks", "write the public halves of token keys for the gateway", _jwks)
    jwks.add_argument("--key", type=Path, action="append", required=True, help="token.key; again for the next one")
    jwks.add_argument("--out", type=Path, required=True, help="jwks.json; it is replaced, so that keys can change")
    sign = command("sign", "sign a release", _sign)
    sign.add_argument("--key", type=Path, required=True, help="release.key")
    verify = command("verify", "check that a release is what was signed", _verify)
    verify.add_argument("--public-key", type=Path, required=True, help="release.pub")
    encrypt = command("encrypt", "write a release to an encrypted archive (age)", _encrypt)
    encrypt.add_argument("--public-key", type=Path, required=True, help="archive.pub")
    encrypt.add_argument("--out", type=Path, required=True, help="file to write")
    decrypt = command("decrypt", "unpack an encrypted archive", _decrypt)
    decrypt.add_argument("archive", type=Path)
    decrypt.add_argument("--key", type=Path, required=True, help="archive.key")
    decrypt.add_argument("--out", type=Path, required=True, help="folder to make")
    for made in (sign, verify, encrypt):
        made.add_argument("release", type=Path, help="folder of a release")
    return run(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
