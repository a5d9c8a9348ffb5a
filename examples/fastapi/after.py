"""Orders, with API keys that keytail judges: no cache here, no database, and a
revoked key is refused by every worker within milliseconds.

    KEYTAIL_URL=http://127.0.0.1:8080 uvicorn after:app --workers 4

Only VALID lets a request in. Whatever keeps keytail from answering is 503, never
a yes and never a 401: the client's key may well be good.
"""

import os
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

KEYTAIL_URL = os.environ.get("KEYTAIL_URL", "http://127.0.0.1:8080")
KEYTAIL_TOKEN = os.environ.get("KEYTAIL_TOKEN")  # where keytail has a --caller-token-file


CHALLENGE = 'Bearer realm="orders"'
MAX_KEY_BYTES = 512


class Refusal(Exception):
    def __init__(self, status: int, code: str, **headers: str):
        self.status, self.code = status, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def lifespan(app: FastAPI):
    # One client for all requests: it keeps its connections open. The retry is of
    # connecting alone.
    async with httpx.AsyncClient(
        base_url=KEYTAIL_URL,
        headers={"Authorization": f"Bearer {KEYTAIL_TOKEN}"} if KEYTAIL_TOKEN else {},
        timeout=2.0,
        transport=httpx.AsyncHTTPTransport(retries=1),
    ) as client:
        app.state.keytail = client
        yield


app = FastAPI(lifespan=lifespan)


def require(*scopes: str):
    """A dependency: what keytail says about a key that holds these scopes."""

    async def check(request: Request) -> dict:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refusal(401, "MISSING", WWW_Authenticate=CHALLENGE)
        if len(key) > MAX_KEY_BYTES:
            raise refusal("MALFORMED", scopes)
        # Behind a proxy the address is the client's only with uvicorn's
        # --forwarded-allow-ips. It is for keys with an allow-list.
        question = {"key": key, "scopes": scopes, "ip": request.client.host}
        try:
            response = await request.app.state.keytail.post("/v1/keys/verify", json=question)
            answer = response.raise_for_status().json()
            valid, code = answer["valid"], answer["code"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise Refusal(503, "UNAVAILABLE", Retry_After="1") from error
        if valid is not True or code != "VALID":
            raise refusal(code, scopes)
        return answer

    return check


def refusal(code: str, scopes: tuple[str, ...]) -> Refusal:
    """What a client is told for a code of keytail's. One that is not known is no yes."""
    if code in ("MALFORMED", "NOT_FOUND", "DISABLED", "EXPIRED"):
        return Refusal(401, code, WWW_Authenticate=f'{CHALLENGE}, error="invalid_token"')
    if code == "INSUFFICIENT_PERMISSIONS":
        return Refusal(403, code, WWW_Authenticate=f'{CHALLENGE}, error="insufficient_scope", scope="{" ".join(scopes)}"')
    return Refusal(403, code)


@app.exception_handler(Refusal)
async def refuse(_: Request, why: Refusal) -> JSONResponse:
    body = {"type": "about:blank", "title": HTTPStatus(why.status).phrase, "status": why.status, "code": why.code}
    headers = {"Cache-Control": "no-store", **why.headers}
    return JSONResponse(body, why.status, headers, media_type="application/problem+json")


@app.get("/orders")
async def orders(key: dict = Depends(require("orders:read"))):
    return {"user_id": key["user_id"], "orders": ["o-1", "o-2"]}
