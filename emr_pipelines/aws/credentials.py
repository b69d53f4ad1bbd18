"""Credentials that AWS refuses: the error codes, whether a new session may help, and what a person can do."""

from __future__ import annotations

import os

NOT_RENEWED_CODE = "CredentialRetrieval"  # our own: botocore could not renew a role's, a process's or a login's
HEAD_REFUSED = "400"  # S3's answer to HEAD has no body: it may mean ExpiredToken, or a bucket in another region
# a session reads credentials once: after these codes, the files may hold newer ones
STALE = frozenset({
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired",
    "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
    # the file was read while it was being written: a new id with the old secret or token
    "SignatureDoesNotMatch", "InvalidSignatureException", "InvalidSignature",
    HEAD_REFUSED, NOT_RENEWED_CODE,
})  # fmt: skip
SKEWED = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
NOT_SIGNED_UP = frozenset({"OptInRequired", "NotSignedUp"})
MALFORMED = frozenset({"MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature"})
REFUSED = STALE | SKEWED | NOT_SIGNED_UP | MALFORMED
SKEW_SAID = ("Signature expired", "Signature not yet current")  # in EMR's InvalidSignatureException


def may_be_renewed(code: str, message: str) -> bool:
    """Return whether a new session may find credentials that AWS accepts.

    False when AWS refuses this machine's clock. An empty code means that there were no credentials at all, which a
    login may have changed.
    """
    return (not code or code in STALE) and not _is_skew(code, message)


def hint_of(code: str, message: str) -> str:
    """Say what a person can do about credentials that AWS refuses."""
    if _is_skew(code, message):
        return "This machine's clock is wrong. Synchronize it (with NTP, for example) and retry."
    if code in NOT_SIGNED_UP:
        return "Sign the account up for the service, or enable the region."
    if code == HEAD_REFUSED:
        return (
            "S3 gives no reason for this answer. Either the session token has expired or is invalid, or the bucket is "
            f"in another region: set AWS_REGION to the bucket's region. {_where_to_renew()}"
        )
    return _where_to_renew()


def _where_to_renew() -> str:
    """Name the source of the credentials, as botocore chooses it: keys in the environment win over a profile there."""
    # botocore reads the two variables in this order
    profile = os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        use = f"unset it so that the profile {profile!r} is used" if profile else "unset it and use a profile"
        return (
            "The credentials come from AWS_ACCESS_KEY_ID, and a running process keeps its environment. Restart it with "
            f"new keys, or {use}: profiles are read again when credentials expire."
        )
    profile = profile or "default"
    return (
        f"The credentials come from the profile {profile!r} or from this machine's role. Renew them (aws sso login "
        f"--profile {profile}) and retry; no restart is needed."
    )


def _is_skew(code: str, message: str) -> bool:
    return code in SKEWED or any(said in message for said in SKEW_SAID)
