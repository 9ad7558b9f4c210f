"""What S3's errors mean, and what to do about each."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    TokenRetrievalError,
)

from taskmix.errors import Corrupt, NotFound, StorageError
from taskmix.storage.uris import redact

_WRONG_KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile in AWS_PROFILE"
_NO_PERMISSION = "ask for the permissions s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on this prefix"
_REGION = "set AWS_REGION to the bucket's region"
_MEANINGS = {
    "InvalidAccessKeyId": ("the server does not know this access key", _WRONG_KEYS),
    "SignatureDoesNotMatch": ("the access key is unknown or the secret key is not its own", _WRONG_KEYS),
    "ExpiredToken": ("the session token has expired", "sign in again, then run this again"),
    "InvalidToken": ("the session token is not valid", _WRONG_KEYS),
    "AccessDenied": ("access denied", f"{_NO_PERMISSION}; or {_WRONG_KEYS}"),
    "403": ("access denied", f"{_NO_PERMISSION}; or {_WRONG_KEYS}"),
    "NoSuchBucket": ("there is no such bucket", "create the bucket, or correct its name; AWS_ENDPOINT_URL says where"),
    "PermanentRedirect": ("the bucket lies in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the region is not the bucket's", _REGION),
    "IllegalLocationConstraintException": ("the region is not the bucket's", _REGION),
    "RequestTimeTooSkewed": ("this machine's clock differs from the server's", "set the clock"),
    "SlowDown": ("the server asks for fewer requests", "run this again later"),
    "EntityTooLarge": ("the object is larger than the server takes", "raise the server's limit"),
    "QuotaExceeded": ("the bucket's quota is used up", "free some space or raise the quota"),
    "XMinioStorageFull": ("the server's disk is full", "free some space"),
    "InvalidBucketName": ("the server takes no bucket of this name", "correct the bucket's name"),
}


def code_of(error: Exception) -> str:
    """Return S3's code of an error, such as `NoSuchKey`; empty if it has none."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def explain(error: Exception, *, action: str, where: str, bucket: str, endpoint: str) -> StorageError:
    """Return the error of ours that says where, what was found and what to do; no credentials in it.

    Args:
        error: what boto3 raised.
        action: what was tried, as a verb.
        where: the object's URI.
        bucket: its bucket.
        endpoint: the server's URL.
    """
    code = code_of(error)
    endpoint = redact(endpoint)
    if code in ("404", "NoSuchKey", "NotFound"):
        return NotFound(f"{where}: there is no such object (bucket {bucket!r} at {endpoint}); correct the URI")
    if code:
        found, remedy = _MEANINGS.get(code, (f"the server says {code}", "see the server's documentation of this code"))
        return StorageError(f"{where}: cannot {action}: {found} (bucket {bucket!r} at {endpoint}); {remedy}")
    if isinstance(error, FlexibleChecksumError):
        return Corrupt(f"{where}: the bytes that arrived are not those of the server's checksum; run this again")
    found, remedy = _explain_client(error, endpoint)
    return StorageError(f"{where}: cannot {action}: {found}; {remedy}")


def _explain_client(error: Exception, endpoint: str) -> tuple[str, str]:
    """Say what is wrong on this side of the line, or with the line."""
    if isinstance(error, NoCredentialsError):
        return "no credentials found", (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile with AWS_PROFILE, or run where a role "
            "gives them"
        )
    if isinstance(error, PartialCredentialsError):
        return "only a part of the credentials is set", _WRONG_KEYS
    if isinstance(error, ProfileNotFound):
        return "the profile that AWS_PROFILE names is in no AWS file", "correct AWS_PROFILE or write the profile"
    if isinstance(error, TokenRetrievalError):
        return "the sign-in has expired", "sign in again (aws sso login), then run this again"
    if isinstance(error, SSLError):
        return f"{endpoint}'s certificate cannot be verified", "set AWS_CA_BUNDLE to your authority's certificates"
    if isinstance(error, (EndpointConnectionError, ConnectionClosedError, HTTPClientError)):
        return f"{endpoint} cannot be reached ({type(error).__name__})", (
            "check that the server runs, the network, and AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3)"
        )
    if isinstance(error, BotoCoreError):
        return f"{type(error).__name__}: {error}", "check the AWS variables and files"
    return f"{type(error).__name__}: {error}", "run this again; if it stays, report it"
