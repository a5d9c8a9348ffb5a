"""Orders, with API keys that each worker process caches for some time, as many
services do. It shows how long a revoked key remains usable.

    MONGODB_URI=mongodb://... uvicorn before:app --workers 4

The flaw: the cache is a dict of this process. A revocation clears the entry in one
process at most, here in the one that handled the request. Every other worker accepts
the key until its own entry is CACHE_SECONDS old. So do all workers if another
service, a script or a TTL index revokes the key. A shorter time causes more reads of
the database, and still guarantees no limit: a worker may read the entry from a
lagging secondary after the revocation.
"""

import hashlib
import os
import time
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pymongo import MongoClient

CACHE_SECONDS = float(os.environ.get("CACHE_SECONDS", "120"))

app = FastAPI()
keys = MongoClient(os.environ["MONGODB_URI"])[os.environ.get("MONGODB_DATABASE", "app")]["api_keys"]
cache: dict[str, tuple[float, dict]] = {}  # by hash: the time of expiry, and the document


def find(key_hash: str) -> dict | None:
    expires_at, document = cache.get(key_hash, (0, None))
    if time.monotonic() < expires_at:
        return document  # it may have changed; this process cannot know
    document = keys.find_one({"key_hash": key_hash})
    if document is not None:
        cache[key_hash] = (time.monotonic() + CACHE_SECONDS, document)
    return document


def api_key(sent: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict:
    document = find(hashlib.sha256(sent.credentials.encode()).hexdigest())
    if document is None or not document["is_active"]:
        raise HTTPException(401, "this API key is not valid")
    return document


@app.get("/orders")
def orders(key: Annotated[dict, Depends(api_key)]):
    return {"user_id": key["user_id"], "orders": ["o-1", "o-2"]}


@app.post("/revoke-me")
def revoke_me(key: Annotated[dict, Depends(api_key)]):
    keys.update_one({"_id": key["_id"]}, {"$set": {"is_active": False}})
    cache.pop(key["key_hash"], None)  # in this process only
    return {"revoked": str(key["_id"])}
