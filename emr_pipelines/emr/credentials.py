"""Credentials that AWS refuses: by which codes, when a new session may have others, and what a person can do."""

from __future__ import annotations

import os

NOT_RENEWED_CODE = "CredentialRetrieval"  # ours, where botocore could not renew what a role, a process or a login gave
HEAD_REFUSED = "400"  # S3's answer to HEAD has no body, so it does not say ExpiredToken
# a session reads credentials once: after these, what the files say now may be accepted
STALE = frozenset({
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired",
    "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
    # of a file that was read while it was written: a new id with the old secret or token
    "SignatureDoesNotMatch", "InvalidSignatureException", "InvalidSignature",
    HEAD_REFUSED, NOT_RENEWED_CODE,
})  # fmt: skip
SKEWED = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
NOT_SIGNED_UP = frozenset({"OptInRequired", "NotSignedUp"})
MALFORMED = frozenset({"MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature"})
REFUSED = STALE | SKEWED | NOT_SIGNED_UP | MALFORMED
SKEW_SAID = ("Signature expired", "Signature not yet current")  # in EMR's InvalidSignatureException


def may_be_renewed(code: str, message: str) -> bool:
    """Whether a new session may have credentials that AWS accepts: not when it refuses this machine's clock. No code:
    there were no credentials at all, which a login may have changed."""
    return (not code or code in STALE) and not _is_skew(code, message)


def hint_of(code: str, message: str) -> str:
    """What a person can do about credentials that AWS refuses."""
    if _is_skew(code, message):
        return "The clock of this machine is off: set it, by NTP for instance, and try again."
    if code in NOT_SIGNED_UP:
        return "Sign the account up for the service, or enable the region."
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    if os.environ.get("AWS_ACCESS_KEY_ID") and not profile:
        return (
            "They are in AWS_ACCESS_KEY_ID, and the environment of a running process does not change: start it again "
            "with new ones, or use a profile, which is read again."
        )
    profile = profile or "default"
    return (
        f"They are those of the profile {profile!r}, or of this machine's role. Renew them (`aws sso login --profile "
        f"{profile}`, say) and try again: they are read anew."
    )


def _is_skew(code: str, message: str) -> bool:
    return code in SKEWED or any(said in message for said in SKEW_SAID)
