"""Revokes a key like an application that writes to MongoDB directly, and returns
when every keytail instance has applied the change.

    KEYTAIL_TOKEN=... python receipt.py MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL

Two lines produce the write acknowledgement: the operation_time of the writing
session is the revision, and GET /v1/sync waits for it.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

from pymongo import MongoClient, WriteConcern


def revoke(client, database, collection, key_id):
    """Returns the write's revision: the session's operationTime, as 16 hexadecimal digits."""
    # Only a majority write cannot be rolled back, so only such a write can be waited for.
    keys = client[database].get_collection(collection, write_concern=WriteConcern("majority"))
    # A new session, because a used one may have a later time.
    with client.start_session() as session:
        result = keys.update_one({"_id": key_id}, {"$set": {"is_active": False}}, session=session)
        if result.matched_count == 0:
            sys.exit("no key has this id")
        at = session.operation_time
    return f"{at.time:08x}{at.inc:08x}"


def wait(keytail, token, revision):
    """Asks one instance, which responds for all of them."""
    query = urllib.parse.urlencode({"revision": revision, "scope": "fleet", "timeout": "30s"})
    request = urllib.request.Request(f"{keytail}/v1/sync?{query}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=45) as response:
        return json.load(response)


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    uri, database, collection, key_id, keytail = sys.argv[1:]
    started = time.monotonic()
    with MongoClient(uri) as client:
        revision = revoke(client, database, collection, key_id)
    ack = wait(keytail, os.environ["KEYTAIL_TOKEN"], revision)
    count, missing = len(ack["instances"]), ack["missing"]
    print(f"revoked on {count - len(missing)} of {count} instances in {time.monotonic() - started:.1f} s, revision {revision}")
    if not ack["synced"]:
        sys.exit(f"not applied yet on: {missing}")


if __name__ == "__main__":
    main()
