"""
How many calls a set of templates makes, what they cost at list price, and when a service begins to refuse them.

Quotas and prices are the services' published ones (their pages are named beside them); they change, differ by region
and contract, and are printed as what they are: an estimate.
"""

from __future__ import annotations

import math

from msgspec import Struct

HOURS_A_MONTH = 730


class Service(Struct, frozen=True):
    """
    A store as its provider sells it.

    `calls_per_second` is the default quota and `shared_by` whom it is shared by; None when there is none to speak of.
    `price` is USD for 10,000 calls, None when it is not per call.
    """

    name: str
    calls_per_second: float | None
    shared_by: str
    price: float | None
    note: str = ""


SERVICES = {
    # docs.aws.amazon.com/general/latest/gr/ssm.html, aws.amazon.com/systems-manager/pricing
    "AWSPARAMSTR": Service(
        "AWS Systems Manager Parameter Store",
        40,
        "account and region",
        0.0,
        "standard parameters at standard throughput; 0.05 USD for 10,000 calls otherwise",
    ),
    # docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html, aws.amazon.com/secrets-manager/pricing
    "AWSSECRETS": Service("AWS Secrets Manager", 10_000, "account and region", 0.05),
    # learn.microsoft.com/azure/key-vault/general/service-limits, azure.microsoft.com/pricing/details/key-vault
    "AZKVSECRET": Service("Azure Key Vault", 400, "vault and region", 0.03),
    # learn.microsoft.com/azure/azure-app-configuration/faq
    "AZAPPCONF": Service("Azure App Configuration", 30_000 / 3600, "store, standard tier", None, "priced by the day"),
    # learn.microsoft.com/azure/storage/tables/scalability-targets
    "AZTABLESTORE": Service("Azure Table Storage", 2_000, "table partition", None, "priced by transaction and region"),
    # cloud.google.com/secret-manager/quotas and /pricing
    "GCPSECRETS": Service("Google Secret Manager", 1_500, "project", 0.03),
    "VAULT": Service("HashiCorp Vault", None, "your own server", None, "your own server's"),
    "ENV": Service("the process's environment", None, "this process", 0.0),
    "FILE": Service("files of this machine", None, "this process", 0.0),
}


class Load(Struct, frozen=True):
    """What is asked of one account: so many references, `batch` of them in one call at most."""

    prefix: str
    references: int
    batch: int = 1

    @property
    def calls(self) -> int:
        """Calls for all references once."""
        return math.ceil(self.references / max(1, self.batch))


class Estimate(Struct, frozen=True):
    """
    Figures for one account.

    `per_hour` and `per_month` are calls of all replicas; both are 0 when nothing is refreshed. `price` is USD a month,
    None when it is not known. `share` is the part of the quota that refreshes take (1.0 is all of it), `start_seconds`
    how long the quota makes all replicas wait when they start at once; both None without a quota.
    """

    load: Load
    service: Service | None
    per_hour: float
    per_month: float
    price: float | None
    share: float | None
    start_seconds: float | None

    @property
    def risk(self) -> str:
        """How likely the service is to refuse calls: `none`, `low`, `high`, or `unknown`."""
        if self.service is None:
            return "unknown"
        if self.share is None or self.start_seconds is None:
            return "none"
        if self.share >= _HIGH_SHARE or self.start_seconds >= _LONG_START:
            return "high"
        return "low" if self.share >= _LOW_SHARE or self.start_seconds >= 1 else "none"


_LOW_SHARE = 0.05
_HIGH_SHARE = 0.5  # refreshes come in bursts, and others share the quota
_LONG_START = 10.0


def estimate(load: Load, *, refresh: float | None, replicas: int) -> Estimate:
    """The figures of *load* for so many *replicas* that ask again every *refresh* seconds (None: never)."""
    service = SERVICES.get(load.prefix)
    per_hour = load.calls * replicas * 3600 / refresh if refresh else 0.0
    per_month = per_hour * HOURS_A_MONTH
    price = None if service is None or service.price is None else per_month / 10_000 * service.price
    quota = service.calls_per_second if service else None
    return Estimate(
        load,
        service,
        per_hour,
        per_month,
        price,
        per_hour / 3600 / quota if quota else None,
        load.calls * replicas / quota if quota else None,
    )
