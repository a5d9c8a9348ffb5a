"""Orders, with API keys that each worker process remembers for a while: a cache
as many services have it, and how long a revoked key lives on with it.

    MONGODB_URI=mongodb://... uvicorn before:app --workers 4

The flaw: the cache is a dict of this process. Whoever revokes a key clears it in
one process at most, here the one that took the request. Every other worker lets
the key in until its own entry is CACHE_SECONDS old, and so do all of them when
the key is revoked by another service, a script or a TTL index. A shorter time
makes more reads of the database, not a bound that anybody could promise: the
entry may be made just before the revocation by a secondary that lags.
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
cache: dict[str, tuple[float, dict]] = {}  # by hash: when to forget, and the document


def find(key_hash: str) -> dict | None:
    forget_at, document = cache.get(key_hash, (0, None))
    if time.monotonic() < forget_at:
        return document  # is it still true? Nobody here can know
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
    cache.pop(key["key_hash"], None)  # of this process; the others hear nothing
    return {"revoked": str(key["_id"])}
