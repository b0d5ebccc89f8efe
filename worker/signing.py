"""
A signature on what we send, so that its receiver knows who speaks and that nobody sends it a second time.

The format of Standard Webhooks, for which every language has a verifier: HMAC-SHA256 over id, time and body. Never
signs less than all three.
"""

import base64
import hashlib
import hmac
from typing import Final

_PREFIX: Final = "whsec_"


def headers(secret: str, *, message_id: str, body: bytes, at: int) -> dict[str, str]:
    """
    The three headers of a signed message.

    Args:
        secret: `whsec_` and base64, as the verifiers have it; anything else is taken as it stands.
        message_id: the same for every try of one message, so that a receiver can drop repetitions.
        at: seconds since 1970, by which a receiver refuses what is old.
    """
    digest = hmac.digest(_key(secret), f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            pass
    return secret.encode()
