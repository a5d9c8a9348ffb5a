"""Orders, with API keys that keytail validates. There is no cache and no database
here, and every worker refuses a revoked key within milliseconds.

    KEYTAIL_URL=http://127.0.0.1:8080 uvicorn after:app --workers 4

Only VALID allows a request. If keytail cannot answer, the response is 503, never a
401: the client's key may be valid.
"""

import os
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

KEYTAIL_URL = os.environ.get("KEYTAIL_URL", "http://127.0.0.1:8080")
KEYTAIL_TOKEN = os.environ.get("KEYTAIL_TOKEN")  # needed if keytail runs with --caller-token-file


CHALLENGE = 'Bearer realm="orders"'
MAX_KEY_BYTES = 512


class Refusal(Exception):
    def __init__(self, status: int, code: str, **headers: str):
        self.status, self.code = status, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def lifespan(app: FastAPI):
    # One client for all requests, which keeps its connections open. It retries only to
    # connect.
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
    """Returns a dependency that requires a valid key with these scopes."""

    async def check(request: Request) -> dict:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refusal(401, "MISSING", WWW_Authenticate=CHALLENGE)
        if len(key) > MAX_KEY_BYTES:
            raise refusal("MALFORMED", scopes)
        # The address is for keys that are restricted to networks. Behind a proxy it is
        # the client's only with uvicorn's --forwarded-allow-ips.
        body = {"key": key, "scopes": scopes, "ip": request.client.host}
        try:
            response = await request.app.state.keytail.post("/v1/keys/verify", json=body)
            answer = response.raise_for_status().json()
            valid, code = answer["valid"], answer["code"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise Refusal(503, "UNAVAILABLE", Retry_After="1") from error
        if valid is not True or code != "VALID":
            raise refusal(code, scopes)
        return answer

    return check


def refusal(code: str, scopes: tuple[str, ...]) -> Refusal:
    """Returns the refusal for a code of keytail. An unknown code is a refusal, too."""
    if code in ("MALFORMED", "NOT_FOUND", "DISABLED", "EXPIRED"):
        return Refusal(401, code, WWW_Authenticate=f'{CHALLENGE}, error="invalid_token"')
    if code == "INSUFFICIENT_PERMISSIONS":
        return Refusal(403, code, WWW_Authenticate=f'{CHALLENGE}, error="insufficient_scope", scope="{" ".join(scopes)}"')
    return Refusal(403, code)


@app.exception_handler(Refusal)
async def refuse(_: Request, refusal: Refusal) -> JSONResponse:
    body = {"type": "about:blank", "title": HTTPStatus(refusal.status).phrase, "status": refusal.status, "code": refusal.code}
    headers = {"Cache-Control": "no-store", **refusal.headers}
    return JSONResponse(body, refusal.status, headers, media_type="application/problem+json")


@app.get("/orders")
async def orders(key: dict = Depends(require("orders:read"))):
    # The request to keytail named no organisation, so the organisation is the key's (None:
    # the key is not bound to one). An API with the organisation in its path must send it
    # to keytail as org_id.
    return {"org_id": key["org_id"], "user_id": key["user_id"], "orders": ["o-1", "o-2"]}
