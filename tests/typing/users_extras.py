"""What a user writes with raw responses, bulk calls and the package `montra`, for mypy and pyright. Never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from typing_extensions import assert_type

import montra
import montra_async
import montra_sync
from montra import AsyncMontra, Montra
from montra_async import ApiError, ApiResponse, BulkProgress, BulkResult, Customer, ResponseHeaders, json_default
from montra_async.notebook import Table, table
from montra_async.paywall import BillingClient, CheckoutResult


async def raw(client: AsyncMontra, billing: BillingClient) -> None:
    response = await client.with_raw_response(client.get_customer, "cust_1")
    assert_type(response, ApiResponse[Customer])
    assert_type(response.data, Customer)
    assert_type(response.status, int | None)
    assert_type(response.headers, ResponseHeaders)
    assert_type(response.headers.get_all("vary"), list[str])
    assert_type(response.request_id, str | None)
    assert_type(response.replayed, bool)
    assert_type((await client.with_raw_response(client.list_customers)).data, list[Customer])
    view = billing.for_user(email="a@example.com")
    assert_type((await view.with_raw_response(view.create_checkout, 1)).data, CheckoutResult)
    await client.with_raw_response(client.get_customer)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.with_raw_response(client.get_customer, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.with_raw_response(client.iter_audit_logs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.with_raw_response(client.with_options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def raw_sync(client: Montra) -> None:
    response = client.with_raw_response(client.create_customer, name="A", email="a@example.com")
    assert_type(response, ApiResponse[Customer])
    assert_type(client.with_raw_response(client.list_customers).data, list[Customer])
    client.with_raw_response(client.create_customer, name="A")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def headers_of(error: ApiError) -> None:
    assert_type(error.headers, ResponseHeaders)


def progress(so_far: BulkProgress) -> None:
    assert_type(so_far.done, int)


async def bulk(client: AsyncMontra, items: list[dict[str, Any]]) -> None:
    assert_type(client.create_customers(items), AsyncGenerator[BulkResult[Customer], None])
    async for result in client.report_usage_many(items, concurrency=5, batch_key="b", on_progress=progress):
        assert_type(result, BulkResult[bool])
        assert_type(result.error, Exception | None)
    results = sorted([one async for one in client.create_customers({"name": "A"} for _ in range(3))])
    assert_type(results[0].unwrap(), Customer)


def bulk_sync(client: Montra, items: list[dict[str, Any]]) -> None:
    assert_type(client.create_customers(items), Generator[BulkResult[Customer], None, None])
    assert_type([one.value for one in client.report_usage_many(items)], list[bool | None])


def one_package(customers: list[Customer]) -> None:
    assert_type(Montra("sk"), montra_sync.Montra)
    assert_type(AsyncMontra("sk", trust_env=True), montra_async.Montra)
    assert_type(montra.Montra("sk", trust_env=True), montra_sync.Montra)
    assert_type(table(customers), Table)
    assert_type(json_default(customers[0]), Any)


def wrong_with(client: AsyncMontra, sync: Montra) -> None:
    with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def wrong_async_with(client: Montra) -> None:
    async with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
