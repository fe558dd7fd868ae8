"""From flags to webhooks: who signs them, and where they may go."""

import os
from dataclasses import replace
from pathlib import Path

from cli.options import UsageError, WebhookOptions
from mesh.broker.files import write_private
from mesh.errors import InvalidRequest
from mesh.jobs.webhooks.addresses import AddressRules
from mesh.jobs.webhooks.settings import WebhookSettings
from mesh.jobs.webhooks.signing import Signer, new_secret

SECRET_FILE = "webhook-secret"  # noqa: S105 - the name of the file


def webhook_settings(options: WebhookOptions, state: Path) -> WebhookSettings | None:
    """Return how webhooks are told, ``None`` without a secret; raises ``UsageError``."""
    text, source = _secret(options, state)
    if text is None:
        return None
    try:
        signer = Signer.parse(text, source)
    except InvalidRequest as error:
        raise UsageError(error.message) from None
    return WebhookSettings(signer=signer, rules=AddressRules.parse(options.webhook_allow))


def with_secret(options: WebhookOptions, state: Path) -> WebhookOptions:
    """Return options that name a secret: as they do, or else a file, made if it does not exist.

    Only who starts a whole mesh makes one. A runner that joins and made its own would sign with
    what no receiver knows.
    """
    if options.webhook_secret_env or options.webhook_secret_file:
        webhook_settings(options, state)  # a mistake is told before anything starts
        return options
    file = state.expanduser().absolute() / SECRET_FILE
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(file, f"{new_secret()}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
    return replace(options, webhook_secret_file=file)


def _secret(options: WebhookOptions, state: Path) -> tuple[str | None, str]:
    """Return the secrets that are given, if any, and where they were found."""
    if name := options.webhook_secret_env:
        if not os.environ.get(name):
            raise UsageError(f"--webhook-secret-env: the environment variable {name} is not set")
        return os.environ[name], f"the environment variable {name}"
    file = options.webhook_secret_file or state.expanduser() / SECRET_FILE
    try:
        return file.read_text(), str(file)
    except FileNotFoundError:
        if options.webhook_secret_file is None:
            return None, ""
        raise UsageError(f"--webhook-secret-file: there is no {file}") from None
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"--webhook-secret-file: cannot read {file}") from None
