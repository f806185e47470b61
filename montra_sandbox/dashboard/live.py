"""The live feed of the dashboard."""

LIVE_ROUTE: str = "/dashboard/live"
