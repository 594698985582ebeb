"""What is sold, by the customer and by the site."""

from vigil.features.definitions.entities import AMOUNT, SITE_DAYS, amount, customer, sigmas, site, site_group
from vigil.features.language import Entity, Feature, feature

GROUP = "sales"


def sales(sigma: float) -> list[Feature]:
    """Return the sales features; a high value lies more than `sigma` standard deviations above the 30-day mean."""
    site_daily = site.sum(AMOUNT, "7d") / site.sum(SITE_DAYS, "7d")
    group_daily = site_group.sum(AMOUNT, "7d") / site_group.sum(SITE_DAYS, "7d")
    return [
        *_amounts(customer, sigma),
        *_amounts(site, sigma),
        *(
            feature(
                f"customer_count_{window}",
                customer.count(window),
                group=GROUP,
                unit="transactions",
                reason="how often the customer buys",
            )
            for window in ("7d", "30d")
        ),
        feature(
            "site_sales_over_group_7d",
            site_daily / group_daily,
            group=GROUP,
            unit="ratio",
            reason="a site that sells unlike its location group; sales per day on which a site sold",
            default=1.0,
        ),
    ]


def _amounts(entity: Entity, sigma: float) -> list[Feature]:
    mean, std = entity.mean(AMOUNT, "30d"), entity.std(AMOUNT, "30d")
    name = entity.name
    return [
        feature(f"{name}_amount_mean_30d", mean, group=GROUP, unit="currency", reason=f"the {name}'s usual amount"),
        feature(f"{name}_amount_std_30d", std, group=GROUP, unit="currency", reason=f"spread of the {name}'s amounts"),
        feature(
            f"is_high_value_for_{name}",
            sigmas(amount, mean, std) > sigma,
            group=GROUP,
            unit="flag",
            reason=f"more than {sigma:g} standard deviations above the {name}'s 30-day mean",
        ),
    ]
