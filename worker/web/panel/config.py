"""
What the panel's pages are told, and the headers that fence them in.

The rule: everything here is public. A script runs only if it is one of our files; nothing makes HTML from text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class PanelConfig:
    supabase_url: str
    """Where the browser signs in: an address that the browser reaches."""
    publishable_key: str
    version: str
    simulated: Callable[[], bool]
    """Whether translations are simulated, asked for each page."""
    sign_up: bool = True
    """Whether the sign-in page offers to make an account."""
    embed_origins: Sequence[str] = ()
    """Origins that may show the panel in a frame and hand it a token; none: nobody may."""
    operator_claim: str = ""
    """What of a token's `app_metadata` makes an operator; empty: there is no operator view."""
    csp_report_uri: str | None = None
    """Where a browser reports what the policy stopped; the tests listen there."""

    def public(self) -> Mapping[str, object]:
        """The body of `config.json`."""
        return {
            "supabase_url": self.supabase_url.rstrip("/"),
            "publishable_key": self.publishable_key,
            "version": self.version,
            "simulated": self.simulated(),
            "auth": {"sign_up": self.sign_up},
            "embed_origins": list(self.embed_origins),
            "operator_claim": self.operator_claim,
        }


def headers(config: PanelConfig) -> dict[str, str]:
    """The headers of every answer under `/panel`."""
    address = urlsplit(config.supabase_url)
    frame_ancestors = " ".join(["'self'", *config.embed_origins]) if config.embed_origins else "'none'"
    policy = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        f"connect-src 'self' {address.scheme}://{address.netloc}",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        f"frame-ancestors {frame_ancestors}",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    if config.csp_report_uri:
        policy.append(f"report-uri {config.csp_report_uri}")
    own = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    }
    if not config.embed_origins:
        own["X-Frame-Options"] = "DENY"
    return own
